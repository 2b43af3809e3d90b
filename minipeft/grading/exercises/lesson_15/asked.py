"""What a student's copy of the course needs of this exercise: sheets, and how answers are seen."""

import numpy as np

from ...tasks import Sheet

HEAD = 64  # the size of a head


def shape_and_budget(generator: np.random.Generator) -> Sheet:
    """A decoder with grouped-query attention, and a budget of some numbers for each of its rows."""
    key_value_heads = int(generator.integers(2, 9))
    heads = key_value_heads * int(generator.choice([3, 4, 6, 8]))
    layers = int(generator.integers(14, 61))
    budget = HEAD * heads * layers * float(generator.uniform(60, 300))
    return {
        "layers": layers,
        "hidden": HEAD * heads,
        "heads": heads,
        "key_value_heads": key_value_heads,
        "budget": int(round(budget, -3)),
    }


def names_seen(value: object) -> list[str]:
    """The names in a list, in any order. Raises TypeError for what is no list of text."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError("asked for is a list of names")
    return sorted(value)


def scales_and_names(value: object) -> dict:
    """Two scales, and the names in a list in any order."""
    return {"scales": list(value["scales"]), "differ": names_seen(value["differ"])}
