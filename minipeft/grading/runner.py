"""Runs the cells of one submission in workers and collects what its functions returned.

The worker's word is only ever taken as a value to judge. One task that hangs, crashes or fills the
memory costs its own points: the worker is started anew for the tasks that are left, and a cell that
stopped it is left out from then on.
"""

import contextlib
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from . import memory, sandbox
from .notebook import Cell
from .sandboxed import protocol

ENDED = "its process ended before it returned"
TOO_LONG = "it took longer than the time limit"


@dataclass(frozen=True)
class Limits:
    """What one submission may use."""

    seconds: float = 120  # wall time of all its tasks together
    task_seconds: int = 8  # processor time of one task
    patience: int = 3  # wall time of one task, in units of that: a busy machine is no one's fault
    memory: int = 3 << 30  # bytes, all its processes together
    processes: int = 32
    file_bytes: int = 8 << 20
    open_files: int = 128

    def for_worker(self) -> dict[str, int]:
        """The same in the kernel's terms; the address space is that which torch reserves."""
        return {
            "RLIMIT_AS": 6 << 30,
            "RLIMIT_DATA": self.memory,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_CORE": 0,
        }


@dataclass(frozen=True)
class Request:
    """One task, as the worker sees it: the cells before and in it, a name, inputs."""

    task: str
    function: str
    cells: Sequence[Cell]
    own: frozenset[int]  # the indices of the task's own cells
    cases: Sequence[Sequence[object]]
    calls: int = 1
    tensors: bool = True


@dataclass
class Outcome:
    """What came back for one task."""

    answers: list[object] = field(default_factory=list)
    missing: bool = False  # no function of that name
    trouble: str = ""  # why answers are missing
    errors: dict[int, str] = field(default_factory=dict)  # cell index -> its exception
    at: int | None = None  # the cell that ran last; None once the function was called
    heard: bool = False  # whether the worker said anything about this task


def run(
    requests: Sequence[Request],
    sheet: dict,
    preload: Sequence[str],
    limits: Limits,
    sandboxed: bool,
) -> dict[str, Outcome]:
    """Task name -> what came back. Never raises for what a submission does."""
    outcomes = {request.task: Outcome() for request in requests}
    deadline = time.monotonic() + limits.seconds
    pending, skipped, trouble = list(requests), set(), ""
    while pending and not trouble:
        job = _job(pending, skipped, sheet, preload, limits)
        with Worker(job, limits, sandboxed) as worker:
            trouble = worker.wait_for_start(deadline)
            fresh = True
            while pending and not trouble and not worker.ended:
                outcome = worker.follow(pending[0], deadline)
                if not outcome.heard and not fresh:
                    break  # it ended after the task before: not this one's fault
                outcomes[pending[0].task], fresh = outcome, False
                if outcome.trouble and outcome.at is not None:
                    skipped.add(outcome.at)  # a cell that stops its process is left out from now on
                    worker.ended = True
                if not outcome.trouble or outcome.at is None or outcome.at in pending[0].own:
                    pending.pop(0)  # else another task's cell was at fault: try again without it
        if time.monotonic() > deadline:
            trouble = trouble or f"the {limits.seconds:g} seconds of the submission were used up"
    for request in pending:
        outcomes[request.task].trouble = trouble
    return outcomes


class Worker:
    """One worker process, alone behind its wall, and the messages that come out of it."""

    def __init__(self, job: dict, limits: Limits, sandboxed: bool) -> None:
        self.limits, self.ended, self.looked = limits, False, 0.0
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        argv, environment = sandbox.command(sandboxed)
        with tempfile.TemporaryFile() as stdin:
            protocol.send(stdin, job, protocol.LARGEST_JOB)
            stdin.seek(0)
            self.process = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=self.stderr,
                env=environment,
                cwd=tempfile.gettempdir(),
                start_new_session=True,
            )
        self.messages: queue.Queue = queue.Queue(maxsize=64)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        """End every process of the worker, and wait until the last one has let go of the pipe."""
        with contextlib.suppress(ProcessLookupError, AttributeError):  # no groups on Windows
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        patience = time.monotonic() + 5  # without a sandbox, a process that escaped may hold it
        while self.reader.is_alive() and time.monotonic() < patience:
            with contextlib.suppress(queue.Empty):
                self.messages.get(timeout=0.02)
        if not self.reader.is_alive():
            self.process.stdout.close()
        self.stderr.close()

    def _read(self) -> None:
        message: object = None
        try:
            while (message := protocol.receive(self.process.stdout)) is not None:
                self.messages.put(message)
        except (protocol.ProtocolError, OSError, ValueError):
            pass  # the stream is no longer to be understood, which is as good as its end
        self.messages.put(None)

    def next(self, deadline: float) -> dict | str:
        """The next message, or the reason why none will come."""
        while (now := time.monotonic()) < deadline:
            if now > self.looked + 0.1:
                self.looked = now
                if memory.over(self.limits.memory, self.process.pid):
                    return f"it used more than {self.limits.memory / 2**30:.3g} GiB of memory"
            with contextlib.suppress(queue.Empty):
                message = self.messages.get(timeout=min(deadline - now, 0.1))
                return message if isinstance(message, dict) else ENDED
        return TOO_LONG

    def wait_for_start(self, deadline: float) -> str:
        """Wait until the packages are imported; returns what went wrong, "" for nothing."""
        first = self.next(deadline)
        if isinstance(first, dict) and first.get("event") == "ready":
            return ""
        self.stderr.seek(0)
        told = self.stderr.read()[-500:].decode(errors="replace").strip()
        return f"the grader's worker could not start: {told or first}"

    def follow(self, request: Request, deadline: float) -> Outcome:
        """Collect the messages of one task, until its end or until something stops it."""
        outcome = Outcome()
        wall = self.limits.patience * self.limits.task_seconds
        deadline = min(deadline, time.monotonic() + wall)
        while True:
            message = self.next(deadline)
            if isinstance(message, str):
                outcome.trouble, self.ended = message, True
                return outcome
            outcome.heard = True
            if message.get("event") == "end":
                break
            _note(outcome, message, len(request.cases))
        if not outcome.missing and len(outcome.answers) < len(request.cases):
            out_of_time = message.get("status") == -getattr(signal, "SIGXCPU", 0)
            outcome.trouble = TOO_LONG if out_of_time else ENDED
        return outcome


def _job(
    requests: Sequence[Request],
    skipped: set[int],
    sheet: dict,
    preload: Sequence[str],
    limits: Limits,
) -> dict:
    """All that a worker will ever be told."""
    return {
        "limits": limits.for_worker(),
        "task_seconds": limits.task_seconds,
        "preload": list(preload),
        "sheet": sheet,
        "cells": {cell.index: cell.source for request in requests for cell in request.cells},
        "requests": [
            {
                "cells": [cell.index for cell in request.cells if cell.index not in skipped],
                "function": request.function,
                "cases": request.cases,
                "calls": request.calls,
                "tensors": request.tensors,
            }
            for request in requests
        ],
    }


def _note(outcome: Outcome, message: dict, cases: int) -> None:
    """Take one message into the outcome; what makes no sense is passed over."""
    event, index = message.get("event"), message.get("index")
    if event == "cell" and isinstance(index, int):
        outcome.at = index
    elif event == "error" and isinstance(index, int) and len(outcome.errors) < 100:
        outcome.errors[index] = f"{message.get('name')}: {message.get('text')}"
    elif event in ("calling", "missing"):
        outcome.at, outcome.missing = None, event == "missing"
    elif event == "answer" and len(outcome.answers) < cases:
        outcome.answers.append(message.get("value"))
