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


def whole(value: object) -> dict:
    """A count and its type: bytes and FLOPs are whole."""
    return {"type": type(value).__name__, "count": value}
