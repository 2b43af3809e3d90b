"""What grading finds: a verdict for each task, a result for each submission.

A result is plain data. It is written as JSON as soon as its submission is done, and everything that
an instructor or a student gets is made from these files alone.
"""

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Verdict:
    """Right or not, what to tell the student, and how many points it earns."""

    right: bool
    message: str
    points: float = 0.0
    right_parts: list[str] = field(default_factory=list)  # what earned them, where not all is right
    case: str = ""  # the arguments of the first case that is wrong, in words


@dataclass(frozen=True)
class Result:
    """What one submission got: a verdict for every task, by its name."""

    student: str
    verdicts: dict[str, Verdict]
    note: str = ""  # what went wrong with the submission as a whole
    claim: str = ""  # the id that the notebook draws its sheet for
    texts: dict[str, str] = field(default_factory=dict)  # answers in words, by their grade_id
    ran: str = ""  # in words, what was run
    prints: list[int] = field(default_factory=list)  # of the code, for the report on likeness
    graded: bool = True  # False where there was nothing to grade

    @property
    def points(self) -> float:
        return sum(verdict.points for verdict in self.verdicts.values())

    def to_json(self) -> str:
        """The text of its file."""
        return json.dumps(asdict(self), ensure_ascii=True, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """The result in a file's text. Raises ValueError, KeyError or TypeError."""
        data = json.loads(text)
        verdicts = {name: Verdict(**verdict) for name, verdict in data.pop("verdicts").items()}
        return cls(verdicts=verdicts, **data)
