"""What a student's copy of the course needs of this exercise: sheets, and how answers are observed."""

import math

import numpy as np

from ...tasks import Pieces, Sheet

SPREAD, BOUND = "spread of A, in units of kaiming's", "A stays within 1/sqrt(d_in)"
RANDOM, UNIFORM = "A is random", "A is uniform"
A_ZERO, B_ZERO = "A is zero", "B is zero"
BASE = ("shape of A", "shape of B", A_ZERO, B_ZERO, RANDOM)


def architecture(generator: np.random.Generator) -> Sheet:
    """A model that no published one equals."""
    groups = int(generator.choice([2, 4]))
    key_value_heads = int(generator.integers(2, 5))
    heads = groups * key_value_heads
    hidden = heads * int(generator.choice([16, 32, 48, 64]))
    return {
        "layers": int(generator.integers(5, 29)),
        "hidden": hidden,
        "heads": heads,
        "key_value_heads": key_value_heads,
        "intermediate": 16 * int(generator.integers(hidden // 8, hidden // 4)),
        "r": int(generator.integers(2, 17)),
    }


def start_seen(value: object) -> dict:
    """What can be said of a random start: shapes, which one is zero, how A is drawn."""
    A, B = (np.asarray(part, dtype=np.float64) for part in value)
    unit = 1 / math.sqrt(A.shape[1])
    return {
        "shape of A": list(A.shape),
        "shape of B": list(B.shape),
        A_ZERO: not A.any(),
        B_ZERO: not B.any(),
        RANDOM: looks_random(A),
        SPREAD: float(A.std() * math.sqrt(3) / unit),
        BOUND: bool(np.abs(A).max() <= 1.01 * unit),
        UNIFORM: bool(abs(kurtosis(A) - 1.8) < 0.2),  # a normal one has 3, random signs have 1
    }


def start_parts(got: list, want: list) -> Pieces:
    """A start at the base that can learn, and A drawn as asked; both ask for a random A."""
    wanted = {"starts at the base": BASE, "how A is drawn": (RANDOM, SPREAD, BOUND, UNIFORM)}

    def chosen(seen: list, keys: tuple) -> list:
        return [{k: s[k] for k in keys} if isinstance(s, dict) else s for s in seen]

    return {name: (chosen(got, keys), chosen(want, keys)) for name, keys in wanted.items()}


def looks_random(A: np.ndarray) -> bool:
    """Whether neighbours, in a row and across rows, have nothing in common.

    Independent draws correlate by about 1 / sqrt(their number); six times that is once in 10^8.
    """
    deviation = (A - A.mean()).ravel()
    variance = float(deviation @ deviation)
    if variance == 0:
        return False
    lags = [*range(1, 9), A.shape[1], 2 * A.shape[1]]
    return all(
        abs(deviation[lag:] @ deviation[:-lag]) / variance < 6 / math.sqrt(A.size) for lag in lags
    )


def kurtosis(A: np.ndarray) -> float:
    """The fourth moment in units of the squared variance."""
    deviation = A - A.mean()
    return float((deviation**4).mean() / ((deviation**2).mean() ** 2 or 1.0))
