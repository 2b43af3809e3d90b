"""What a student's copy of the course needs of this exercise: sheets, and how answers are seen."""

import numpy as np

from ...tasks import Sheet


def model_sheet(generator: np.random.Generator) -> Sheet:
    """A decoder of Llama's family that nobody has published: no biases, fewer heads for keys."""
    kv_heads = int(generator.integers(2, 9))
    head_dim = 8 * int(generator.integers(4, 17))
    heads = kv_heads * int(generator.integers(2, 6))
    return {
        "layers": int(generator.integers(9, 60)),
        "d": heads * head_dim,
        "ff": 64 * int(generator.integers(40, 250)),
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
    }


def pairs_seen(value: object) -> list[dict]:
    """The merged weight and its bias that each call returned, by name: in this order."""
    return [{"weight": weight, "bias": bias} for weight, bias in value]


def kept_seen(value: object) -> dict:
    """Positions and values in the order of the positions: which comes first doesn't matter."""
    positions, values = (np.asarray(part) for part in value)
    if positions.ndim != 1 or positions.shape != values.shape:
        return {"positions": list(positions.shape), "values": list(values.shape)}
    order = np.argsort(positions, kind="stable")
    return {
        "positions": [int(place) for place in positions[order]],
        "values": values[order].astype(np.float64),
    }
