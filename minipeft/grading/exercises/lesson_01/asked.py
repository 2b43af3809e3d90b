"""What a student's copy of the course needs of this exercise: sheets, and how answers are observed."""

import numpy as np

from ...tasks import Sheet


def company(generator: np.random.Generator) -> Sheet:
    """A model, an adapter and a number of tasks that no one else has."""
    return {
        "parameters": 1_000_000 * int(generator.integers(700, 40_000)),
        "adapter": 1_000 * int(generator.integers(500, 90_000)),
        "tasks": int(generator.integers(3, 30)),
    }


class Unseen(int):
    """A number that no message prints: the sheet's answers are for the student to work out."""

    def __repr__(self) -> str:
        return "a number"


def unseen(value: object) -> object:
    """The student's bytes, in a form that is compared but not printed."""
    return {name: Unseen(n) if type(n) is int else n for name, n in dict(value).items()}


def whole(value: object) -> dict:
    """A count and its type: bytes and FLOPs are whole."""
    return {"type": type(value).__name__, "count": value}
