"""Marks one submission: runs it in a sandbox and judges what its functions return.

The rules are made to be fair. The whole notebook runs before a task is judged, so helpers may stand
anywhere; a task that is not right so is judged once more as its own check saw it, right below its
cell. A task that calls the function of another one, which is wrong, is judged with a right one in
its place. The better verdict counts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import notebook, similarity
from .arguments import arguments
from .compare import judge
from .limits import Limits
from .results import Result, Verdict
from .runner import Outcome, Request, Session
from .sandboxed.protocol import Raised
from .tasks import Exercise, Sheet, Task

SLOW_TO_IMPORT = {"optim": "torch._dynamo"}  # the first step of an optimizer imports it
LONGEST_TEXT = 20_000  # characters of an answer in words


@dataclass(frozen=True)
class Marking:
    """What holds for every submission of one run."""

    exercise: Exercise
    seed: int
    limits: Limits
    sandboxed: bool = True
    right: dict[str, str] | None = None  # task -> a right answer's source, for what builds on it


def mark(student: str, ids: Sequence[str], data: bytes, marking: Marking) -> Result:
    """Mark one submission. `ids` are other names that the student may have written as an id."""
    try:
        handed = notebook.read(data)
    except notebook.Unreadable as error:
        return lost(student, f"{error}"[:500], marking.exercise)
    preload = [*marking.exercise.preload]
    if "torch" in preload:
        preload += [module for word, module in SLOW_TO_IMPORT.items() if handed.says(word)]
    with Session(handed.cells, preload, marking.limits, marking.sandboxed) as session:
        return _Desk(student, ids, handed, session, marking).result()


def lost(student: str, note: str, exercise: Exercise, graded: bool = True) -> Result:
    """The result of a submission of which nothing could be judged."""
    verdict = Verdict(False, "Not graded: see the note above.")
    verdicts = {task.name: verdict for task in exercise.tasks}
    return Result(student, verdicts, note=note, graded=graded)


class _Desk:
    """One submission on the desk, with the worker that runs it."""

    def __init__(
        self,
        student: str,
        ids: Sequence[str],
        handed: notebook.Notebook,
        session: Session,
        marking: Marking,
    ) -> None:
        self.student, self.ids, self.handed, self.session = student, ids, handed, session
        self.marking, self.exercise = marking, marking.exercise
        self.outcomes: dict[str, Outcome] = {}
        self.sheet: Sheet = {}

    def result(self) -> Result:
        claim = self.claim()
        self.sheet = self.exercise.sheet_for(claim or self.student)
        verdicts = {task.name: self.first(task) for task in self.exercise.tasks}
        wrong = {name for name, verdict in verdicts.items() if not verdict.right}
        for task in self.exercise.tasks:
            if task.name in wrong:
                verdicts[task.name] = self.again(task, verdicts[task.name], wrong)
        by_hand = {part.name for part in self.exercise.by_hand}
        texts = {n: t[:LONGEST_TEXT] for n, t in self.handed.texts.items() if n in by_hand}
        code = [cell.source for cell in self.handed.cells if cell.grade_id]
        return Result(
            self.student,
            verdicts,
            note=self.note(),
            claim=claim,
            texts=texts,
            ran=self.ran(),
            prints=similarity.prints(code),
        )

    def claim(self) -> str:
        """The id that the notebook draws its sheet for; "" where it names none."""
        identity = self.exercise.identity
        if not self.exercise.has_sheets or not self.handed.says(identity):
            return ""
        placeholder = self.exercise.sheet_for(self.student)
        own, cells = self.handed.own(identity), self.handed.down_to(identity)
        outcome = self.session.ask(Request(identity, cells, own, [[]], sheet=placeholder))
        value = outcome.answers[0] if outcome.answers else None
        value = str(value) if type(value) is int else value
        return value.strip()[:200] if isinstance(value, str) else ""

    def first(self, task: Task) -> Verdict:
        """Judged after the whole notebook, and if that is not right, right below its own cell."""
        every = [cell.index for cell in self.handed.cells]
        verdict = self.judged(task, every)
        prefix = self.handed.down_to(task.name)
        outcome = self.outcomes[task.name]
        if verdict.right or prefix == every or outcome.trouble or outcome.missing:
            return verdict
        return max(verdict, self.judged(task, prefix), key=lambda v: v.points)

    def again(self, task: Task, verdict: Verdict, wrong: set[str]) -> Verdict:
        """Judged with right answers in place of the wrong ones that it builds on."""
        sources = self.marking.right or {}
        used = [name for name in wrong & sources.keys() if name != task.name and self.uses(name)]
        if not used or self.outcomes[task.name].missing:
            return verdict
        given: dict[str, list[str]] = {}
        for name in sorted(used):
            own = self.handed.own(name)
            given.setdefault(str(own[-1] if own else -1), []).append(sources[name])
        every = [cell.index for cell in self.handed.cells]
        better = self.judged(task, every, given)
        if better.points <= verdict.points:
            return verdict
        names = ", ".join(f"`{name}`" for name in sorted(used))
        return replace(
            better, message=f"Judged with a right {names} in place of yours. " + better.message
        )

    def uses(self, name: str) -> bool:
        """Whether a cell other than its own mentions a function."""
        word = re.compile(rf"\b{re.escape(name)}\b")
        return any(word.search(c.source) for c in self.handed.cells if c.grade_id != name)

    def judged(self, task: Task, cells: list[int], given: dict | None = None) -> Verdict:
        own, cases = self.handed.own(task.name), task.inputs(self.marking.seed, self.sheet)
        request = Request(
            function=task.name,
            cells=cells,
            own=own,
            cases=task.told(cases),
            sheet=self.sheet,
            given=given or {},
            calls=task.calls,
            tensors="torch" in self.exercise.preload,
        )
        outcome = self.outcomes[task.name] = self.session.ask(request)
        return self.verdict(task, cases, outcome, own)

    def verdict(self, task: Task, cases: list, outcome: Outcome, own: list[int]) -> Verdict:
        """Judge what came back, and say in words what did not."""
        stopped = [self.session.skipped[index] for index in own if index in self.session.skipped]
        if outcome.missing or (stopped and not outcome.answers):
            if stopped:
                return Verdict(False, f"One of its cells was stopped: {stopped[-1]}.")
            return Verdict(False, _missing(task, [outcome.errors.get(index) for index in own]))
        if outcome.trouble and not outcome.answers:
            case = arguments(task, task.told(cases)[0], 1)
            return Verdict(False, f"The function was stopped: {outcome.trouble}.", case=case)
        judged = judge(task, cases, outcome.answers)
        if outcome.trouble:
            case = len(outcome.answers) + 1
            told = f"In case {case} the function was stopped: {outcome.trouble}. "
            judged = replace(judged, message=told + judged.message)
        return judged

    def note(self) -> str:
        """What went wrong with the submission as a whole."""
        skipped = [
            f"cell {index + 1}: {why}" for index, why in sorted(self.session.skipped.items())
        ]
        told = [f"left out were {'; '.join(skipped)}"] if skipped else []
        return "; ".join([*told, *filter(None, [self.session.trouble])])

    def ran(self) -> str:
        """In words, what was run."""
        outcome = next(iter(self.outcomes.values()))
        text = f"{len(self.handed.cells)} cells of code were run, from the top."
        if outcome.errors:
            told = (_in_words(index, error) for index, error in sorted(outcome.errors.items())[:5])
            text += f" These ended with an error: {'; '.join(told)}."
        return text


def _in_words(index: int, error: Raised) -> str:
    return f"cell {index + 1} ({error.name}: {error.text[:80]})"


def _missing(task: Task, errors: Sequence[Raised | None]) -> str:
    told = [f"{error.name}: {error.text}" for error in errors if error is not None]
    stopped = f" Its cell stopped with {told[0]}" if told else ""
    return (f"There is no function called `{task.name}`." + stopped)[:500]
