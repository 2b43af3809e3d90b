"""What a student's copy of the course needs of this exercise: sheets, and how answers are seen."""

import numpy as np

from ...tasks import Sheet

STEP = 32  # the sides of a sheet's matrix are multiples of it
LARGEST = 10_000  # entries; no matrix that is asked for is larger
NEGLIGIBLE = 1e-5  # of the largest singular value: what 32 bits leave of a zero


def matrix_sheet(generator: np.random.Generator) -> Sheet:
    """A matrix and a rank. Rules that hold for squares alone don't fit by luck."""
    while True:
        d_out, d_in = (STEP * int(side) for side in generator.integers(20, 300, 2))
        short, long = sorted((d_out, d_in))
        even = short * long / (short + long)  # the break-even rank
        if even % 1 and short // 100 > even // 100:
            return {"d_out": d_out, "d_in": d_in, "r": int(generator.integers(3, 65))}


def rank_and_size(value: object) -> dict:
    """A matrix by its shape, its rank in 32 bits, and its Frobenius norm. Raises ValueError."""
    matrix = np.asarray(value, dtype=np.float64)
    if matrix.ndim != 2 or not 0 < matrix.size <= LARGEST:
        raise ValueError("asked for is a matrix of the given shape")
    values = np.linalg.svd(matrix, compute_uv=False)
    rank = int((values > NEGLIGIBLE * values[0]).sum())
    return {"shape": list(matrix.shape), "rank": rank, "size": float(np.linalg.norm(matrix))}
