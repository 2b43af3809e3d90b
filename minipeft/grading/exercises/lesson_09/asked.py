"""What a student's copy of the course needs of this exercise: sheets, and how answers are seen."""

import numpy as np

from ...tasks import Sheet


def decoder_sheet(generator: np.random.Generator) -> Sheet:
    """A decoder with grouped-query attention that no published model is, and a prompt for it."""
    head_dim, key_heads = int(generator.choice([64, 80, 96, 128])), int(generator.integers(2, 9))
    query_heads = key_heads * int(generator.integers(2, 7))
    return {
        "layers": int(generator.integers(9, 70)),
        "query heads": query_heads,
        "key/value heads": key_heads,
        "head_dim": head_dim,
        "width": query_heads * head_dim,
        "virtual tokens": int(generator.integers(5, 95)),
        "encoder width": int(generator.integers(100, 900)),
    }


def pair_seen(value: object) -> dict:
    """Inputs and labels by name."""
    inputs, labels = value
    return {"inputs": inputs, "labels": labels}


def ids_seen(value: object) -> dict:
    """Ids, in a list or an array of any kind of number, and whether they are whole."""
    ids = np.asarray(value)
    return {"whole": ids.dtype.kind in "iu", "ids": ids}
