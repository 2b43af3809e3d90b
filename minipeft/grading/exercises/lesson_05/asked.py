"""What a student's copy of the course needs of this exercise: sheets, and how answers are observed."""

import numpy as np

from ...tasks import Pieces, Sheet


def numbers_of_a_model(generator: np.random.Generator) -> Sheet:
    """The counts of a model that no published one equals; what is in 4 bits fills its blocks."""
    return {
        "linear": 16_384 * int(generator.integers(20_000, 400_000)),
        "other": 64 * int(generator.integers(500_000, 9_000_000)),
        "trained": 64 * int(generator.integers(20_000, 900_000)),
    }


def whole(value: object) -> dict:
    """A number of bytes and its type: bytes are whole."""
    return {"type": type(value).__name__, "bytes": value}


def segment_parts(got: list, want: list) -> Pieces:
    """The length of the segments, and the peak that comes with it, as two parts."""

    def of(values: list, place: int) -> list:
        pairs = [v if isinstance(v, list | tuple) and len(v) == 2 else (None, None) for v in values]
        return [pair[place] for pair in pairs]

    return {name: (of(got, n), of(want, n)) for n, name in enumerate(("the segment", "the peak"))}
