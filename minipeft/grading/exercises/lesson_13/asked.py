"""What a student's copy of the course needs of this exercise: sheets, and how answers are seen."""

import numpy as np

from ...tasks import Sheet


def model_sheet(generator: np.random.Generator) -> Sheet:
    """A base, its adapters and a batch that no one else has."""
    return {
        "parameters of the base": 1024 * int(generator.integers(900_000, 9_000_000)),
        "hidden": 64 * int(generator.integers(20, 130)),
        "layers": int(generator.integers(13, 70)),
        "r": int(generator.integers(3, 40)),
        "adapters": int(generator.integers(3, 12)),
        "requests": int(generator.integers(20, 90)),
    }


def sum_seen(value: object) -> dict:
    """A and B as they act: their shapes and their product.

    A weight that was moved from one matrix to the other looks the same here.
    """
    A, B = (np.asarray(part, dtype=np.float64) for part in value)
    fits = A.ndim == B.ndim == 2 and B.shape[1] == A.shape[0]
    product = B @ A if fits else "no product"
    return {"shape of A": list(A.shape), "shape of B": list(B.shape), "B A": product}
