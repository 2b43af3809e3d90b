"""The vocabulary in which an exercise is written: one file holds one Exercise, made of Tasks.

A task says what is asked, the right answer, and the wrong answers that people really give, each
with the message that names the mistake. The notebook's instant check and the grader both work from
this alone. To add an exercise, write its folder `exercises/lesson_NN/` and its notebook.
"""

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

Sheet = dict[str, object]
Cases = list[list[object]]


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

    def inputs(self, seed: int, sheet: Sheet) -> Cases:
        """The arguments of every case. The seed of one task says nothing of another's."""
        if self.from_sheet:
            return [[sheet]]
        digest = hashlib.sha256(f"{self.name} {seed}".encode()).digest()
        return self.cases(np.random.default_rng(list(digest)))

    def told(self, cases: Cases) -> Cases:
        """The arguments that the student's function gets."""
        return [[] for _ in cases] if self.from_sheet else cases


@dataclass(frozen=True)
class ByHand:
    """An answer in words, which waits for a person."""

    name: str
    title: str
    points: float


@dataclass(frozen=True)
class Exercise:
    """All tasks of one notebook."""

    number: str
    notebook: str  # the file's name without .ipynb
    tasks: Sequence[Task]
    by_hand: Sequence[ByHand] = ()
    sheet: Callable[[np.random.Generator], Sheet] = field(default=lambda generator: {})
    preload: Sequence[str] = ("torch",)  # what the sandbox imports once, before any task

    @property
    def points(self) -> float:
        return sum(part.points for part in (*self.tasks, *self.by_hand))

    def task(self, name: str) -> Task:
        return next(task for task in self.tasks if task.name == name)

    def sheet_for(self, student: str) -> Sheet:
        """The numbers that this student has, and no one else. Case and spaces do not count."""
        name = unicodedata.normalize("NFKC", student).strip().casefold()
        digest = hashlib.sha256(f"{self.notebook} {name}".encode(errors="replace")).digest()
        return self.sheet(np.random.default_rng(list(digest)))
