"""What a student's copy of the course needs of this exercise: sheets, and how answers are observed."""

import math

import numpy as np

from ...tasks import Pieces, Sheet

RANDOM, SPREAD = "drawn at random", "spread, in units of nn.Linear's"
ZEROS, ANEW = "how many are zero", "drawn anew in each call"
BASE = ("shape of A", "shape of B", ZEROS, RANDOM)


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
    """What decides whether an adapter starts well: shapes, zeros, chance, spread.

    `value` is the pairs (A, B) of two calls; one pair alone says nothing of a seed.

    Every start with one zero and one random matrix of nn.Linear's spread looks the same here, from
    whichever distribution it is drawn, and whichever of the two is the zero.
    """
    calls = value if isinstance(value[0], list | tuple) else [value]
    pairs = [[np.asarray(part, dtype=np.float64) for part in pair] for pair in calls]
    (drawn, *again), (A, B) = [A if A.any() else B for A, B in pairs], pairs[0]
    spread = float(drawn.std() * math.sqrt(3 * drawn.shape[1]))
    return {
        "shape of A": list(A.shape),
        "shape of B": list(B.shape),
        ZEROS: int(not A.any()) + int(not B.any()),
        RANDOM: looks_random(drawn),
        ANEW: not any(np.array_equal(drawn, other) for other in again),
        SPREAD: 1.0 if 0.85 < spread < 1.18 else spread,
    }


def start_parts(got: list, want: list) -> Pieces:
    """A start at the base that can learn, and the spread of what is drawn; both ask for chance."""
    wanted = {"starts at the base": BASE, "how it is drawn": (RANDOM, ANEW, SPREAD)}

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
