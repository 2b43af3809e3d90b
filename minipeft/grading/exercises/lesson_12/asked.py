"""What a student's copy of the course needs of this exercise: sheets, and how answers are seen."""

import numpy as np

from ...tasks import Sheet

BLOCK = 64  # weights to one constant of NF4


def layer_sheet(generator: np.random.Generator) -> Sheet:
    """A layer that no published model has."""
    return {
        "d_out": BLOCK * int(generator.integers(17, 150)),
        "d_in": BLOCK * int(generator.integers(17, 150)),
        "r": int(generator.integers(3, 65)),
    }


def kind_and_rank(value: object) -> dict:
    """The rank and its type: a rank is whole."""
    return {"type": type(value).__name__, "rank": value}


def pair_seen(value: object) -> dict:
    """A and B as they act: their shapes and their product.

    A pair and the same pair with its scale moved from one matrix to the other look the same here.
    """
    A, B = (np.asarray(part, dtype=np.float64) for part in value)
    fits = A.ndim == B.ndim == 2 and B.shape[1] == A.shape[0]
    product = B @ A if fits else "no product"
    return {"shape of A": list(A.shape), "shape of B": list(B.shape), "B A": product}
