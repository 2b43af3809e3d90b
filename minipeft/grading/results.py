"""What grading finds: a verdict for each task, a grade for each submission."""

from collections.abc import Sequence
from dataclasses import dataclass

from .submissions import Submission


@dataclass(frozen=True)
class Verdict:
    """Right or not, and what to tell the student."""

    right: bool
    message: str


@dataclass(frozen=True)
class Grade:
    """What one submission got: a verdict for every task, in their order."""

    submission: Submission
    verdicts: Sequence[Verdict]
    note: str = ""  # what went wrong with the submission as a whole
    score: float = 0.0
