"""Runs the cells of one submission in workers and collects what its functions returned.

The worker's word is only ever taken as a value to judge, and every message is checked for its form.
One request that hangs, crashes or fills the memory costs itself: the worker is started anew for
what is left, and a cell that stopped it is left out from then on.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from . import memory, sandbox
from .notebook import Cell
from .sandboxed import protocol
from .sandboxed.worker import FORKS

ENDED = "its process ended before it returned"
TOO_LONG = "it took longer than the time limit"
TOO_MUCH = "it sent more than any answer needs"


@dataclass(frozen=True)
class Limits:
    """What one submission may use."""

    seconds: float = 240  # wall time of all its tasks together
    task_seconds: int = 8  # processor time of one task's calls; its cells have three times that
    patience: int = 3  # wall time in units of processor time: a busy machine is no one's fault
    memory: int = 3 << 30  # bytes, all its processes together
    processes: int = 32
    file_bytes: int = 8 << 20
    open_files: int = 128
    messages: int = 20_000  # of one task; a cell and an answer are one each
    sent_bytes: int = 32 << 20  # of one task

    @property
    def cell_seconds(self) -> int:
        """Processor time of the notebook's cells, before a task is judged."""
        return 3 * self.task_seconds

    def for_worker(self) -> dict[str, int]:
        """The same in the kernel's terms; the address space is that which torch reserves."""
        return {
            "RLIMIT_AS": 6 << 30,
            "RLIMIT_DATA": self.memory,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_SIGPENDING": 256,
            "RLIMIT_MSGQUEUE": 0,
            "RLIMIT_MEMLOCK": 64 << 10,
            "RLIMIT_CORE": 0,
        }

    def told(self) -> str:
        """The limits in words, as an exercise prints them."""
        return (
            f"{self.cell_seconds} seconds of processor time for the notebook's cells, "
            f"{self.task_seconds} for each task, {self.memory >> 30} GiB of memory, "
            f"files of {self.file_bytes >> 20} MB in the current folder, and no network"
        )


@dataclass(frozen=True)
class Request:
    """One task, as the worker sees it: cells, a name, inputs."""

    function: str
    cells: Sequence[int]  # the indices of those to run, in their order
    own: Sequence[int]  # those of the task
    cases: Sequence[Sequence[object]]
    sheet: dict = field(default_factory=dict)
    given: dict[str, list[str]] = field(default_factory=dict)  # sources to run below a cell
    calls: int = 1
    tensors: bool = True


@dataclass
class Outcome:
    """What came back for one request."""

    answers: list[object] = field(default_factory=list)
    missing: bool = False  # no function of that name
    trouble: str = ""  # why answers are missing
    errors: dict[int, protocol.Raised] = field(default_factory=dict)  # cell index -> its exception
    ran: int = 0  # how many cells were begun
    at: int | None = None  # the cell that ran last; None once the function was called


class Session:
    """The workers of one submission, one after the other, and what they may still use.

    `with Session(...) as session: outcome = session.ask(request)`. Asking never raises for what a
    submission does.
    """

    def __init__(
        self, cells: Sequence[Cell], preload: Sequence[str], limits: Limits, sandboxed: bool
    ) -> None:
        self.limits, self.sandboxed = limits, sandboxed
        self.deadline = time.monotonic() + limits.seconds
        self.skipped: dict[int, str] = {}  # cells that stopped a worker, and how
        self.job = {
            "sandboxed": sandboxed,
            "limits": limits.for_worker(),
            "cell_seconds": limits.cell_seconds,
            "task_seconds": limits.task_seconds,
            "preload": list(preload),
            "cells": {cell.index: cell.source for cell in cells},
        }
        self.worker: Worker | None = None
        self.trouble = ""  # why no worker can be had any more

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def _let_go(self) -> None:
        if self.worker is not None:
            self.worker.close()
        self.worker = None

    def ask(self, request: Request) -> Outcome:
        """What comes back for one request."""
        while True:
            if time.monotonic() > self.deadline:
                self.trouble = f"the {self.limits.seconds:g} seconds of the submission were used up"
            if self.trouble:
                return Outcome(trouble=self.trouble)
            outcome = self._ask_once(request)
            stopped = outcome.at if outcome.trouble else None
            if stopped is None or stopped in self.skipped:
                return outcome
            self.skipped[stopped] = outcome.trouble  # from now on this cell is left out
            if stopped in request.own:
                return outcome

    def _ask_once(self, request: Request) -> Outcome:
        if self.worker is None:
            self.worker = Worker(self.job, self.limits, self.sandboxed)
            self.trouble = self.worker.start(self.deadline)
            if self.trouble:
                return Outcome(trouble=self.trouble)
        outcome = Outcome()
        cells = [index for index in request.cells if index not in self.skipped]
        asked = {**vars(request), "cells": cells, "own": list(request.own)}
        try:
            self._follow(outcome, self.worker.serve(asked, self.deadline), len(request.cases))
        except Stopped as stopped:
            outcome.trouble = str(stopped)
            self._let_go()
        if not FORKS:
            self._let_go()
        if not (outcome.trouble or outcome.missing) and len(outcome.answers) < len(request.cases):
            outcome.trouble = ENDED
        return outcome

    def _follow(self, outcome: Outcome, messages: Iterator[dict], cases: int) -> None:
        for told in messages:
            event = told.get("event")
            if event == "cell" and _is_index(told.get("index"), self.job["cells"]):
                outcome.at, outcome.ran = told["index"], outcome.ran + 1
            elif event == "error" and _is_index(told.get("index"), self.job["cells"]):
                if isinstance(told.get("value"), protocol.Raised):
                    outcome.errors[told["index"]] = told["value"]
            elif event in ("calling", "missing"):
                outcome.at, outcome.missing = None, event == "missing"
            elif event == "answer" and len(outcome.answers) < cases:
                outcome.answers.append(told.get("value"))
            elif event == "end" and len(outcome.answers) < cases and not outcome.missing:
                out_of_time = told.get("status") == getattr(signal, "SIGXCPU", 0)
                outcome.trouble = TOO_LONG if out_of_time else ENDED


def _is_index(value: object, cells: dict) -> bool:
    return type(value) is int and value in cells


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
        yield from self._of_task(self.process.stdout.fileno(), deadline)

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
            if not select.select([descriptor], [], [], 0.1)[0]:
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
