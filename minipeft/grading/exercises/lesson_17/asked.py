"""What a student's copy of the course needs of this exercise: sheets, how answers are observed."""

import numpy as np

from ...tasks import Sheet


def small_cluster(generator: np.random.Generator) -> Sheet:
    """A model that no published one equals, on a number of cards that divides all its sides."""
    hidden = 64 * int(generator.integers(17, 100))
    return {
        "layers": int(generator.integers(9, 61)),
        "hidden": hidden,
        "intermediate": 64 * int(generator.integers(hidden // 32, hidden // 16)),
        "vocabulary": 64 * int(generator.integers(150, 1200)),
        "r": 8 * int(generator.integers(1, 9)),
        "processes": int(generator.choice([4, 8, 16])),
    }


def range_seen(value: object) -> list:
    """Where a shard begins and ends, and that both are whole."""
    first, end = value
    return [[type(n).__name__, n] for n in (first, end)]


def parts_seen(value: object) -> list:
    """The parts of all processes, each as an array."""
    return [np.asarray(part, dtype=np.float64) for part in value]


def adapter_seen(value: object) -> dict:
    """An adapter as it acts: the shapes of A and B, and their product.

    The order in which adapters are stacked, and where a factor is put, look the same here.
    """
    A, B = (np.asarray(part, dtype=np.float64) for part in value)
    fits = A.ndim == B.ndim == 2 and B.shape[1] == A.shape[0]
    return {
        "shape of A": list(A.shape),
        "shape of B": list(B.shape),
        "B A": B @ A if fits else "no product",
    }
