"""What a student's copy of the course needs of this exercise: sheets, and how answers are seen."""

import numpy as np

from ...tasks import Sheet


def vit_sheet(generator: np.random.Generator) -> Sheet:
    """A ViT that nobody has published."""
    patch = int(generator.integers(5, 33))
    heads = int(generator.integers(3, 17))
    return {
        "side": patch * int(generator.integers(6, 31)),
        "patch": patch,
        "blocks": int(generator.integers(5, 41)),
        "d": 64 * heads,
        "r": int(generator.integers(2, 33)),
        "labels": int(generator.integers(11, 400)),
    }


def head_seen(value: object) -> dict:
    """A head as its two tensors, by name."""
    weight, bias = value
    return {"weight": weight, "bias": bias}
