"""What a student's copy of the course needs of this exercise: sheets, how answers are observed."""

import numpy as np

from ...tasks import Sheet


def matrices(generator: np.random.Generator) -> Sheet:
    """Some equal matrices to be kept in four bits; their blocks come out even."""
    return {
        "matrices": int(generator.integers(20, 300)),
        "d_out": 256 * int(generator.integers(3, 60)),
        "d_in": 128 * int(generator.integers(3, 90)),
        "block": int(generator.choice([32, 64, 128])),
        "second_block": int(generator.choice([128, 256])),
    }


def codes_and_scale(value: object) -> dict:
    """The pair that is asked for, whatever the type of its whole numbers."""
    codes, scale = value
    return {"codes": plain(codes), "scale": plain(scale)}


def plain(value: object) -> np.ndarray:
    """An array of numbers, whatever their type: uint8, int64 or float."""
    return np.asarray(value, dtype=np.float64)


def number(value: object) -> float:
    """One number, out of its tensor if it is in one."""
    return float(np.asarray(value))
