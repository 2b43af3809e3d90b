"""What a student's copy of the course needs of this exercise: sheets, and how answers are seen."""

import numpy as np

from ...tasks import Sheet


def model_sheet(generator: np.random.Generator) -> Sheet:
    """A model of Llama's family that nobody has published, and the ranks of two entries."""
    heads = int(generator.integers(9, 40))
    d = 32 * heads
    return {
        "d": d,
        "kv": 32 * int(generator.integers(2, heads - 3)),
        "ff": d + 16 * int(generator.integers(20, 120)),
        "blocks": int(generator.integers(5, 70)),
        "r": int(generator.integers(3, 24)),
        "vera_r": int(generator.integers(65, 500)),
    }


def whole_list(value: object) -> list[int]:
    """Positions as whole numbers, in their order."""
    found = list(value)
    assert all(isinstance(place, int | np.integer) and place is not True for place in found)
    return [int(place) for place in found]


def words(value: object) -> list[str]:
    """Names in their order."""
    assert not isinstance(value, str | dict)
    return [str(name) for name in value]


def entry_seen(value: object) -> dict:
    """An entry as it counts and acts: its numbers, and B A of each layer with a rank above 0."""
    numbers, products = 0, {}
    for name, pair in dict(value).items():
        A, B = (np.asarray(part, dtype=np.float64) for part in pair)
        assert A.ndim == B.ndim == 2 and B.shape[1] == A.shape[0]
        numbers += A.size + B.size
        if A.size:
            products[str(name)] = B @ A
    return {"numbers": int(numbers), "updates": products}
