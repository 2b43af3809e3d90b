"""The vocabulary in which an exercise is written: one folder holds one Exercise, made of Tasks.

A task says what is asked, the right answer, and the wrong answers that people really give, each
with the message that names the mistake. The notebook's instant check and the grader both work from
this alone. To add an exercise, write its folder `exercises/lesson_NN/` and its notebook. What a
student's copy of the course needs of a task (how an answer is observed, how a sheet is drawn) goes
into `asked.py` of that folder: `make release` leaves the folder's other files out.
"""

import hashlib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Sheet = dict[str, object]
Cases = list[list[object]]
Pieces = dict[str, tuple[list, list]]  # name of a part -> (what came, what is right)
Split = Callable[[list, list], Pieces]


@dataclass(frozen=True)
class Recorded:
    """What a function of ours answers to the instant check's cases, worked out elsewhere."""

    values: Sequence[object]
    parameters: Sequence[str] = ()  # the names of what it takes


@dataclass(frozen=True)
class Misconception:
    """A wrong answer, as a function like the right one, and the message that names it."""

    answer: Callable
    message: str


@dataclass(frozen=True)
class Task:
    """One function that a student writes; its name is also the `grade_id` of its cell."""

    name: str
    title: str
    points: float
    cases: Callable[[np.random.Generator], Cases]  # fresh inputs; the same each time for one seed
    answer: Callable  # the reference, in plain numpy
    misconceptions: Sequence[Misconception]
    why: str  # shown after passing: why this works
    tolerance: float = 1e-4  # relative to the largest number of the answer
    observe: Callable = lambda value: value  # what of the answer is compared
    calls: int = 1  # 2 finds a function that changes its inputs
    from_sheet: bool = False  # the function takes nothing: it answers for the student's own sheet
    parts: Split | None = None  # what earns points by itself; None is all or nothing
    weights: Mapping[str, float] = field(default_factory=dict)  # of the parts; 1 each by default
    trivial: Sequence[Callable] = ()  # answers that are none: the parts they get earn nothing

    def inputs(self, seed: int, sheet: Sheet) -> Cases:
        """The arguments of every case. The seed of one task says nothing of another's."""
        if self.from_sheet:
            return [[sheet]]
        digest = hashlib.sha256(f"{self.name} {seed}".encode()).digest()
        return self.cases(np.random.default_rng(list(digest)))

    def told(self, cases: Cases) -> Cases:
        """The arguments that the student's function gets."""
        return [[] for _ in cases] if self.from_sheet else cases

    def pieces(self, got: list, want: list) -> Pieces:
        """What came and what is right, by the parts that earn points."""
        return {self.title: (got, want)} if self.parts is None else self.parts(got, want)

    def worth(self, part: str, parts: Sequence[str]) -> float:
        """The points of one part."""
        total = sum(self.weights.get(name, 1.0) for name in parts)
        return self.points * self.weights.get(part, 1.0) / total


def by_case(*names: str) -> Split:
    """Parts by case: the name of each case's part, in the order of the cases."""

    def split(got: list, want: list) -> Pieces:
        places = {name: [i for i, other in enumerate(names) if other == name] for name in names}
        return {name: ([got[i] for i in at], [want[i] for i in at]) for name, at in places.items()}

    return split


def by_entry(got: list, want: list) -> Pieces:
    """Parts by the entries of the dictionary that is asked for, each over all cases."""
    mine = [one if isinstance(one, dict) else {} for one in got]
    return {key: ([m.get(key) for m in mine], [right[key] for right in want]) for key in want[0]}


def by_answer(got: list, want: list) -> Pieces:
    """Parts by what is right: all cases with the same answer are one part."""
    places = {name: [i for i, right in enumerate(want) if right == name] for name in want}
    return {name: ([got[i] for i in at], [want[i] for i in at]) for name, at in places.items()}


@dataclass(frozen=True)
class ByHand:
    """An answer in words, which waits for a person."""

    name: str
    title: str
    points: float
    rubric: Sequence[tuple[float, str]] = ()  # (points, what for)
    levels: Sequence[tuple[float, str]] = ()  # (points, an answer that earns them), best first


@dataclass(frozen=True)
class Exercise:
    """All tasks of one notebook."""

    number: str
    notebook: str  # the file's name without .ipynb
    tasks: Sequence[Task]
    by_hand: Sequence[ByHand] = ()
    sheet: Callable[[np.random.Generator], Sheet] = field(default=lambda generator: {})
    identity: str = "my_id"  # the function that returns whose sheet it is
    preload: Sequence[str] = ("torch",)  # what the sandbox imports once, before any task

    @property
    def points(self) -> float:
        return sum(part.points for part in (*self.tasks, *self.by_hand))

    @property
    def has_sheets(self) -> bool:
        return any(task.from_sheet for task in self.tasks)

    def task(self, name: str) -> Task:
        return next(task for task in self.tasks if task.name == name)

    def sheet_for(self, student: str) -> Sheet:
        """The numbers that this student has, and no one else. Case and spaces do not count."""
        digest = hashlib.sha256(f"{self.notebook} {same(student)}".encode(errors="replace"))
        return self.sheet(np.random.default_rng(list(digest.digest())))


def same(student: str) -> str:
    """A student's id as it is compared: case and spaces around it do not count."""
    return unicodedata.normalize("NFKC", student).strip().casefold()
