"""What a student's copy of the course needs of this exercise: sheets, how answers are observed."""

import numpy as np

from ...tasks import Sheet


def small_llama(generator: np.random.Generator) -> Sheet:
    """A model that no published one equals; every side is a multiple of 64, as NF4's blocks are."""
    groups = int(generator.choice([4, 8]))
    narrow = 64 * int(generator.integers(6, 13))
    hidden = groups * narrow
    return {
        "layers": int(generator.integers(9, 61)),
        "hidden": hidden,
        "key_value": narrow,
        "intermediate": 64 * int(generator.integers(hidden // 32, hidden // 16)),
        "vocabulary": 8 * int(generator.integers(1000, 9000)),
        "r": int(generator.integers(4, 65)),
    }


def kinds_and_bytes(value: object) -> dict:
    """Each number and its type: bytes are whole."""
    return {name: [type(n).__name__, n] for name, n in dict(value).items()}


def whole_pair(value: object) -> list:
    """Two numbers of bytes and their types."""
    paging, staying = value
    return [[type(n).__name__, n] for n in (paging, staying)]


def start_seen(value: object) -> dict:
    """What decides whether a start is right: Q, the product B A, and their shapes.

    A and B alone are not compared: a sign, or a share of a singular value, may stand in either.
    """
    Q, A, B = (np.asarray(part, dtype=np.float64) for part in value)
    return {"shape of A": list(A.shape), "shape of B": list(B.shape), "Q": Q, "B A": B @ A}
