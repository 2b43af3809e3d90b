"""What runs inside the sandbox: the student's cells, then the asked function on the sent inputs.

It is a fork server. It imports what is slow once, and forks one child for each request that it
gets; each child runs the whole notebook anew behind walls of its own, so no task sees what another
one left behind, or is even told what another one was asked. A child writes its messages to a pipe
that came with its request; the control stream is closed to it. All that leaves a child is material
to judge: nothing here knows a score.

Where there is no safe fork (macOS, Windows; only without a sandbox), one worker serves one request,
which stands behind the job on its standard input.
"""

import contextlib
import importlib
import os
import random
import signal
import socket
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

try:
    import resource
except ImportError:  # Windows
    resource = None

from . import protocol, walls
from .call import call, raised
from .cells import Notebook, nothing

FORKS = sys.platform == "linux"
Tell = Callable[..., None]


class Stand:
    """Stands in for the instant checks, which have nothing to say here."""

    def __init__(self, sheet: dict) -> None:
        self._sheet = sheet

    def sheet(self, *_: object) -> dict:
        return dict(self._sheet)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return nothing


def main() -> None:
    """Serve the requests of the control stream, one child each."""
    if not FORKS:
        job = protocol.receive(sys.stdin.buffer, protocol.LARGEST_JOB)
        request = protocol.receive(sys.stdin.buffer, protocol.LARGEST_JOB)
        channel = os.fdopen(os.dup(1), "wb")
        prepare(job)
        serve(request, job["cells"], channel)
        return
    control = socket.socket(fileno=os.dup(0))
    stream = control.makefile("rb", buffering=0)
    job = protocol.receive(_Whole(stream), protocol.LARGEST_JOB)
    prepare(job)
    silence()  # only now: what fails above is told on the standard error
    control.sendall(protocol.message({"event": "ready"}))
    while (pipe := _next_pipe(control)) is not None:
        request = protocol.receive(_Whole(stream), protocol.LARGEST_JOB)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                stream.close()
                control.close()
                become(job, request, pipe)
            os._exit(0)
        os.close(pipe)
        _, status = os.waitpid(child, 0)
        end_strays(job["sandboxed"])
        control.sendall(protocol.message({"event": "end", "status": status & 0x7F}))


class _Whole:
    """Reads of exactly the asked length from a raw stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length and (part := self._stream.read(length - len(parts))):
            parts += part
        return bytes(parts)


def _next_pipe(control: socket.socket) -> int | None:
    """The pipe of the next request, which comes with one byte before it; None at the end."""
    _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    return descriptors[0] if descriptors else None


def become(job: dict, request: dict, pipe: int) -> None:
    """In a child: build the walls, set the clock, serve."""
    if job["sandboxed"]:
        walls.build()
    seconds, task_seconds = job["cell_seconds"], job["task_seconds"]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + task_seconds + 1))
    with os.fdopen(pipe, "wb") as channel:
        serve(request, job["cells"], channel, task_seconds)


def prepare(job: dict) -> None:
    """Set the limits, import what is slow, and sow the seeds."""
    if resource is not None:
        for name, value in job["limits"].items():
            with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
                resource.setrlimit(getattr(resource, name), (value, value))
        with contextlib.suppress(OSError):  # should memory run out all the same, this goes first
            Path("/proc/self/oom_score_adj").write_text("1000")
    for module in job["preload"]:
        importlib.import_module(module)
    random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
        # What was never filled is nan each time, not what the memory held before. The public
        # function for this, use_deterministic_algorithms, imports the compiler: 1.4 s.
        sys.modules["torch"]._C._set_deterministic_algorithms(True, warn_only=True)
    if "numpy" in sys.modules:
        _seed_numpy(sys.modules["numpy"].random)


def _seed_numpy(numpy_random: types.ModuleType) -> None:
    """Let the same submission draw the same numbers at every grading, asked for a seed or not."""
    numpy_random.seed(0)
    own = numpy_random.default_rng
    numpy_random.default_rng = lambda seed=None: own(0 if seed is None else seed)


def silence() -> None:
    """Point the standard streams at nothing: what a student prints is not read by anyone."""
    nothing_file = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing_file, descriptor)


def end_strays(sandboxed: bool) -> None:
    """End whatever a task left running. Only in a sandbox, where all processes are the task's."""
    if sandboxed:
        with contextlib.suppress(ProcessLookupError):  # nothing was left
            os.kill(-1, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def serve(
    request: dict, sources: dict[str, str], channel: BinaryIO, task_seconds: int | None = None
) -> None:
    """Run the cells of one request, call its function, tell each step as it happens."""

    def tell(event: str, **content: object) -> None:
        protocol.send(channel, {"event": event, **content})

    grading = types.ModuleType("minipeft.grading")
    grading.checks, grading.NotYet = lambda *_: Stand(request["sheet"]), AssertionError
    sys.modules["minipeft.grading"] = grading
    notebook = Notebook()
    name, function = request["function"], None
    given = request["given"]  # cell index -> what stands in for the student's answer below it
    for index in [-1, *request["cells"]]:
        if index >= 0:
            tell("cell", index=index)
            run_cell(notebook, index, sources[str(index)], tell)
        for source in given.get(str(index), []):
            exec(source, notebook.namespace)
        if index in request["own"]:
            function = notebook.namespace.get(name, function)
    function = notebook.namespace.get(name) if function is None else function
    tell("calling" if callable(function) else "missing")
    if task_seconds is not None:  # a clock of its own, whatever the cells took
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (min(int(used) + 1 + task_seconds, hard), hard))
    for arguments in request["cases"] if callable(function) else []:
        tell("answer", value=call(function, arguments, request["calls"], request["tensors"]))
    tell("done")


def run_cell(notebook: Notebook, index: int, source: str, tell: Tell) -> None:
    """Run one cell as a notebook would; an error ends the cell, and is told, not raised."""
    try:
        notebook.run(source, f"<cell {index}>")
    except BaseException as error:
        tell("error", index=index, value=raised(error))


if __name__ == "__main__":
    main()
