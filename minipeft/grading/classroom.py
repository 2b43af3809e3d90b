"""Grades a class: one process for each submission, limited in time and memory, judging included.

Each result is on the disk before the next one begins. What a process does or how it ends costs its
own submission; the grader itself only waits, so its memory stays flat. A killed grader takes its
processes along, and they their sandboxes.
"""

import contextlib
import ctypes
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from ..core.disk import atomic_write
from .handins import HandIn
from .marking import Marking, lost, mark
from .notebook import Unreadable
from .results import Result

try:
    import resource
except ImportError:  # Windows
    resource = None

OWN_MEMORY = 4 << 30  # bytes of one submission's process: reading, sending, judging
OWN_SECONDS = 60  # to judge, beyond what the submission itself may use
PR_SET_PDEATHSIG = 1
# a fork shares what is imported; elsewhere it is unsafe or absent
PROCESSES = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


@dataclass(frozen=True)
class Job:
    """One submission to grade, and the file for its result."""

    handin: HandIn
    path: Path
    key: str  # of all that the result depends on


def key_of(handin: HandIn, digest: str, marking: Marking) -> str:
    """What a result depends on, as a hash: the submission, the settings, and the grader's code."""
    settings = [marking.exercise.number, marking.seed, marking.limits.told(), marking.sandboxed]
    about = [handin.student, list(handin.ids), digest, *settings, own_code()]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def own_code() -> str:
    """A hash of the grader's code and the exercises'."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def digest_of(handin: HandIn) -> str:
    """A hash of what was handed in; for what cannot be read, of the reason."""
    try:
        return hashlib.sha256(handin.read()).hexdigest()
    except Unreadable as error:
        return f"{error}"


def stored(job: Job) -> Result | None:
    """The result that an earlier run left, if it is of the very same submission and settings."""
    try:
        data = json.loads(job.path.read_text(encoding="utf-8"))
        return Result.from_json(json.dumps(data["result"])) if data["key"] == job.key else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def grade_all(
    jobs: Sequence[Job], marking: Marking, at_once: int, done: Callable[[Job, Result], None]
) -> None:
    """Grade every submission that has no result yet; `done` is called as each is finished."""
    waiting = []
    for job in jobs:
        found = stored(job)
        waiting += [] if found else [job]
        if found:
            done(job, found)
    running: dict[int, tuple[Job, multiprocessing.Process, float]] = {}
    patience = marking.limits.seconds + OWN_SECONDS
    try:
        while waiting or running:
            while waiting and len(running) < max(1, at_once):
                job = waiting.pop(0)
                process = PROCESSES.Process(target=_grade_one, args=(job, marking, os.getpid()))
                process.start()
                running[process.sentinel] = (job, process, time.monotonic() + patience)
            for sentinel in _ended(running):
                job, process, _ = running.pop(sentinel)
                process.join()
                done(job, _result(job, process.exitcode, marking))
                process.close()
    finally:
        for _, process, _ in running.values():
            process.kill()
            process.join()


def _ended(running: dict) -> list[int]:
    """The sentinels of processes that have ended; one that took too long is ended here."""
    now = time.monotonic()
    for _, process, deadline in running.values():
        if now > deadline:
            process.kill()
    return wait(list(running), timeout=1.0)


def _result(job: Job, status: int | None, marking: Marking) -> Result:
    """What the process wrote; where it wrote nothing, a result that says so, written here."""
    found = stored(job)
    if found is None:
        note = f"the grader could not judge this submission (its process ended with {status})"
        found = lost(job.handin.student, note, marking.exercise, graded=False)
        _write(job, found)
    return found


def _grade_one(job: Job, marking: Marking, parent: int) -> None:
    """In a process of its own: grade one submission and write its result."""
    _bind_to(parent)
    if resource is not None:
        with contextlib.suppress(ValueError, OSError):
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (OWN_MEMORY, hard))
    student, exercise = job.handin.student, marking.exercise
    try:
        result = mark(student, job.handin.ids, job.handin.read(), marking)
    except Unreadable as error:
        result = lost(student, f"{error}"[:500], exercise, graded=not job.handin.skipped)
    except Exception as error:  # a bug of ours, or a submission that found one
        note = f"the grader could not judge this submission ({type(error).__name__})"
        result = lost(student, note, exercise, graded=False)
    _write(job, result)


def _bind_to(parent: int) -> None:
    """Let this process end with the grader, however that ends; Ctrl-C is the grader's to take."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before this line
            os._exit(1)


def _write(job: Job, result: Result) -> None:
    data = {"key": job.key, "result": json.loads(result.to_json())}
    atomic_write(job.path, (json.dumps(data, indent=1) + "\n").encode())
