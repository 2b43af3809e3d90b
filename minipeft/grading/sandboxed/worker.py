"""What runs inside the sandbox: the student's cells, then the asked function on the sent inputs.

It is a fork server. It reads everything it will ever be told from its standard input, imports what
is slow once, and forks one child for each task, so that no task sees what another one left behind.
The children write their messages to the standard output; printing goes nowhere. All that leaves
this process is material to judge: nothing here knows a right answer or a score.
"""

import contextlib
import importlib
import os
import signal
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

try:
    import resource
except ImportError:  # Windows, where only --no-sandbox works
    resource = None

from . import protocol, seccomp
from .call import call, text_of

Tell = Callable[..., None]


class Stand:
    """Stands in for the instant checks, which have nothing to say here."""

    def __init__(self, sheet: dict) -> None:
        self._sheet = sheet

    def sheet(self, *_: object) -> dict:
        return self._sheet

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def main() -> None:
    """Serve every request of the standard input, one child each."""
    job = protocol.receive(sys.stdin.buffer, protocol.LARGEST_JOB)
    channel = os.fdopen(os.dup(1), "wb")
    prepare(job)
    silence()  # only now: what fails above is told on the standard error
    protocol.send(channel, {"event": "ready"})
    for request in job["requests"]:
        if sys.platform != "linux":  # no safe fork: one task for each worker
            serve(request, job["cells"], channel)
            protocol.send(channel, {"event": "end"})
            break
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                seconds = job["task_seconds"]  # then SIGXCPU; a second later, the end
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
                serve(request, job["cells"], channel)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        end_strays()
        protocol.send(channel, {"event": "end", "status": os.waitstatus_to_exitcode(status)})


def prepare(job: dict) -> None:
    """Set the limits, import what is slow, and put a stand-in where the checks would be."""
    if resource is not None:
        for name, value in job["limits"].items():
            with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
                resource.setrlimit(getattr(resource, name), (value, value))
        with contextlib.suppress(OSError):  # should memory run out all the same, this goes first
            Path("/proc/self/oom_score_adj").write_text("1000")
    if in_sandbox():
        seccomp.refuse_hidden_memory()
    for module in job["preload"]:
        importlib.import_module(module)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    grading = types.ModuleType("minipeft.grading")
    grading.checks = lambda *_: Stand(job["sheet"])
    sys.modules["minipeft.grading"] = grading


def silence() -> None:
    """Point the standard streams at nothing: what a student prints is not read by anyone."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def end_strays() -> None:
    """End whatever a task left running. Only in a sandbox, where all processes are the task's."""
    with contextlib.suppress(ProcessLookupError):  # nothing was left
        if in_sandbox():
            os.kill(-1, signal.SIGKILL)


def in_sandbox() -> bool:
    """Whether the first process that can be seen is bubblewrap's."""
    first = Path("/proc/1/comm")
    return first.exists() and first.read_text().strip() == "bwrap"


def serve(request: dict, sources: dict[str, str], channel: BinaryIO) -> None:
    """Run the cells of one request, call its function, tell each step as it happens."""

    def tell(event: str, **content: object) -> None:
        protocol.send(channel, {"event": event, **content})

    namespace: dict = {"__name__": "__main__"}
    for index in request["cells"]:
        tell("cell", index=index)
        run_cell(index, sources[str(index)], namespace, tell)
    function = namespace.get(request["function"])
    tell("calling" if callable(function) else "missing")
    for arguments in request["cases"] if callable(function) else []:
        tell("answer", value=call(function, arguments, request["calls"], request["tensors"]))


def run_cell(index: int, source: str, namespace: dict, tell: Tell) -> None:
    """Run one cell as a notebook would; an error ends the cell, and is told, not raised."""
    try:
        exec(compiled(source, f"<cell {index}>"), namespace)  # the sandbox's very purpose
    except BaseException as error:
        tell("error", index=index, name=type(error).__name__, text=text_of(error))


def compiled(source: str, name: str) -> types.CodeType:
    """The cell's code, without what only Jupyter understands: %magics, !commands, help with a ?."""
    try:
        return compile(source, name, "exec", dont_inherit=True)
    except SyntaxError:
        if source.lstrip().startswith("%%"):
            return compile("", name, "exec")
        lines = source.split("\n")
        lines = ["pass" if line.startswith(("%", "!", "?")) else line for line in lines]
        return compile("\n".join(lines), name, "exec", dont_inherit=True)


if __name__ == "__main__":
    main()
