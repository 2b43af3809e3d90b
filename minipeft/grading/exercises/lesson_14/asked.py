"""What a student's copy of the course needs of this exercise: how its sheets are drawn."""

import numpy as np

from ...tasks import Sheet

STEP = 64  # the sides of a sheet's matrices are multiples of it


def odd(generator: np.random.Generator, low: int, high: int) -> int:
    """An odd number from 2 low + 1 up to 2 high - 1."""
    return 2 * int(generator.integers(low, high)) + 1


def comparison_sheet(generator: np.random.Generator) -> Sheet:
    """A small model, a task to learn by heart, and two batch sizes.

    The odd numbers in it see to it that both ranks have to be rounded.
    """
    layers, hidden = (int(generator.integers(*ends)) for ends in ((4, 25), (5, 21)))
    intermediate = int(generator.integers(2 * hidden + 1, 3 * hidden))
    intermediate -= (hidden + intermediate) % 2 == 0  # their sum is odd
    small, factor = (int(generator.choice([4, 8, 16])) for _ in range(2))
    return {
        "layers": layers,
        "hidden": STEP * hidden,
        "intermediate": STEP * intermediate,
        "r": odd(generator, 4, 12),
        "codes": 500 * odd(generator, layers * hidden, 2 * layers * hidden),
        "letters": odd(generator, 3, 8),
        "alphabet": int(generator.choice([4, 16, 32, 64])),
        "small_batch": small,
        "steps": factor * int(generator.integers(20, 200)),
        "large_batch": factor * small,
    }
