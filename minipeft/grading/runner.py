"""Runs the cells of one submission in workers and collects what its functions returned.

The worker's word is only ever taken as a value to judge, and every message is checked for its form.
One request that hangs, crashes or fills the memory costs itself: the worker is started anew for
what is left, and a cell that stopped it is left out from then on.
"""

import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .limits import Limits
from .notebook import Cell
from .sandboxed import protocol
from .sandboxed.worker import FORKS
from .worker_process import ENDED, TOO_LONG, Stopped, Worker


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
