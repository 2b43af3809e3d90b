"""What a student's copy of the course needs of this exercise: the sheet's draw."""

import numpy as np

from ...tasks import Sheet


def adapted_model(generator: np.random.Generator) -> Sheet:
    """A model with LayerNorms and square query and value matrices, which nobody has published."""
    return {
        "blocks": int(generator.integers(7, 90)),
        "d": 8 * int(generator.integers(40, 700)),
        "r": int(generator.integers(5, 130)),
        "rank": int(generator.integers(9, 65)),
    }
