"""What a student's copy of the course needs of this exercise: how its sheets are drawn."""

import math

import numpy as np

from ...tasks import Sheet

STEP = 64  # the sides of a sheet's matrices are multiples of it
BITS = 2  # that one trained number is supposed to hold


def comparison_sheet(generator: np.random.Generator) -> Sheet:
    """A small model, a task to learn by heart, and two batch sizes. No rule of thumb fits."""
    while True:
        hidden = STEP * int(generator.integers(5, 21))
        small = int(generator.choice([4, 8, 16]))
        factor = int(generator.choice([4, 8, 16]))
        sheet = {
            "layers": int(generator.integers(4, 25)),
            "hidden": hidden,
            "intermediate": STEP * int(generator.integers(hidden // 32, hidden // 16)),
            "r": int(generator.integers(8, 25)),
            "codes": 1000 * int(generator.integers(20, 400)),
            "letters": int(generator.integers(6, 17)),
            "alphabet": int(generator.choice([4, 16, 32, 64])),
            "small_batch": small,
            "steps": factor * int(generator.integers(20, 200)),
            "large_batch": factor * small,
        }
        if _is_uneven(sheet):
            return sheet


def numbers_per_rank(sheet: Sheet) -> tuple[int, int]:
    """What rank 1 trains in one layer: in the four attention matrices, and in the three others."""
    hidden, intermediate = sheet["hidden"], sheet["intermediate"]
    return 8 * hidden, 3 * (hidden + intermediate)


def bits_of(sheet: Sheet) -> int:
    """The bits of all codes: log2 of the alphabet for each letter."""
    return sheet["codes"] * sheet["letters"] * int(math.log2(sheet["alphabet"]))


def _is_uneven(sheet: Sheet) -> bool:
    """Whether both ranks have to be rounded, and none is right by counting two MLP matrices."""
    r, (attention, others) = sheet["r"], numbers_per_rank(sheet)
    held = BITS * sheet["layers"] * (attention + others)
    uneven = r * others % attention and bits_of(sheet) % held
    by_two = r * others * 2 // (3 * attention)
    in_use = 4 <= bits_of(sheet) // held < sheet["hidden"] // 2
    return bool(uneven) and by_two != r and in_use
