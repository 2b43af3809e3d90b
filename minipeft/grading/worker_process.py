"""One worker process behind its walls, and the messages that come out of it.

Every read is bounded, in time, in bytes and in number, and looks at the memory that the worker's
processes hold. What no longer makes sense ends the worker.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator

from . import memory, sandbox
from .limits import Limits
from .sandboxed import protocol
from .sandboxed.worker import FORKS

ENDED = "its process ended before it returned"
TOO_LONG = "it took longer than the time limit"
TOO_MUCH = "it sent more than any answer needs"


class Stopped(Exception):
    """The worker can no longer be used; the text says why."""


class Worker:
    """One worker process, alone behind its walls, and the messages that come out of it."""

    def __init__(self, job: dict, limits: Limits, sandboxed: bool) -> None:
        self.limits, self.job = limits, job
        self.looked, self.deadline = 0.0, 0.0
        self.control: socket.socket | None = None
        self.process: subprocess.Popen | None = None
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        self.sandboxed = sandboxed

    def start(self, deadline: float) -> str:
        """Start it and wait for its imports; returns what went wrong, "" for nothing."""
        if not FORKS:
            return ""  # started with its one request
        self.control, theirs = socket.socketpair()
        with theirs:
            self._start_process(theirs, subprocess.DEVNULL)
        self.deadline = deadline
        try:
            self._send(protocol.message(self.job, protocol.LARGEST_JOB))
            first = next(self._messages(self.control.fileno()), {})
        except Stopped as stopped:
            first = {"event": str(stopped)}
        if first.get("event") == "ready":
            return ""
        self.stderr.seek(0)
        told = self.stderr.read()[-500:].decode(errors="replace").strip()
        return f"the grader's worker could not start: {told or first.get('event', ENDED)}"

    def _start_process(self, stdin: object, stdout: object) -> None:
        self.process = subprocess.Popen(
            **vars(sandbox.command(self.sandboxed)),
            stdin=stdin,
            stdout=stdout,
            stderr=self.stderr,
            cwd=tempfile.gettempdir(),
            start_new_session=True,
        )

    def serve(self, request: dict, deadline: float) -> Iterator[dict]:
        """The messages of one request. Raises Stopped when no more can be had of this worker."""
        self._patient(self.limits.cell_seconds, deadline)
        if not FORKS:
            yield from self._serve_alone(request, deadline)
            return
        reading, writing = os.pipe()
        try:
            with contextlib.suppress(OSError):  # the worker is gone: seen below
                socket.send_fds(self.control, [b"r"], [writing])
            os.close(writing)
            self._send(protocol.message(request, protocol.LARGEST_JOB))
            yield from self._of_task(reading, deadline)
            end = next(self._messages(self.control.fileno()), None)
        finally:
            os.close(reading)
        if end is None:
            raise Stopped(ENDED)
        yield end

    def _of_task(self, descriptor: int, deadline: float) -> Iterator[dict]:
        """The messages of a task's own pipe; its calls have another clock than its cells."""
        for told in self._messages(descriptor):
            event = told.get("event")
            if event == "calling":
                self._patient(self.limits.task_seconds, deadline)
            if event == "done":
                return  # without a sandbox, what the task left running may hold the pipe
            if event != "end":  # that is for the worker to say
                yield told

    def _patient(self, seconds: float, deadline: float) -> None:
        """Wait for so many seconds of processor time, and a multiple of it by the clock."""
        self.deadline = min(deadline, time.monotonic() + self.limits.patience * seconds)

    def _serve_alone(self, request: dict, deadline: float) -> Iterator[dict]:
        """The same in a process for this request only, where there is no safe fork."""
        with tempfile.TemporaryFile() as stdin:
            protocol.send(stdin, self.job, protocol.LARGEST_JOB)
            protocol.send(stdin, request, protocol.LARGEST_JOB)
            stdin.seek(0)
            self._start_process(stdin, subprocess.PIPE)
        watchdog = threading.Timer(self.deadline - time.monotonic(), self.process.kill)
        watchdog.start()  # Windows cannot wait for a pipe with a time limit
        try:
            yield from self._of_task(self.process.stdout.fileno(), deadline)
        finally:
            watchdog.cancel()
        self._look()

    def _send(self, data: bytes) -> None:
        self.control.settimeout(max(0.1, self.deadline - time.monotonic()))
        try:
            self.control.sendall(data)
        except TimeoutError as error:
            raise Stopped(TOO_LONG) from error
        except OSError as error:
            raise Stopped(ENDED) from error

    def _messages(self, descriptor: int) -> Iterator[dict]:
        """The messages of a pipe, as they come, up to its end. Raises Stopped."""
        sent = 0
        for _ in range(self.limits.messages):
            head = self._read(descriptor, protocol.LENGTH.size)
            if not head:
                return
            try:
                length = protocol.length_of(head)
                sent += length
                if sent > self.limits.sent_bytes:
                    raise Stopped(TOO_MUCH)
                told = protocol.decode(self._read(descriptor, length))
            except protocol.ProtocolError as error:
                raise Stopped("what it sent is not an answer") from error
            if isinstance(told, dict):
                yield told
        raise Stopped(TOO_MUCH)

    def _read(self, descriptor: int, length: int) -> bytes:
        """Up to `length` bytes, fewer only at the end of the pipe."""
        data = bytearray()
        while len(data) < length:
            self._look()
            if FORKS and not select.select([descriptor], [], [], 0.1)[0]:
                continue
            try:
                part = os.read(descriptor, min(length - len(data), 1 << 16))
            except OSError:  # the other end of the control stream was reset
                part = b""
            if not part:
                break
            data += part
        return bytes(data)

    def _look(self) -> None:
        """Raise Stopped when time or memory is used up."""
        now = time.monotonic()
        if now > self.deadline:
            raise Stopped(TOO_LONG)
        if now > self.looked + 0.1:
            self.looked = now
            if memory.over(self.limits.memory, self.process.pid):
                raise Stopped(f"it used more than {self.limits.memory / 2**30:.3g} GiB of memory")

    def close(self) -> None:
        """End every process of the worker."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, AttributeError):  # no groups on Windows
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
        if self.control is not None:
            self.control.close()
        self.stderr.close()
