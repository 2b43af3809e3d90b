"""What a student's copy of the course needs of this exercise: sheets, and how answers are observed."""

import numpy as np

from ...observing import kind_and_count
from ...tasks import Sheet


def decoder(generator: np.random.Generator) -> Sheet:
    """The sizes of a decoder that no published one has: grouped, tied, with heads of any size."""
    kv_heads, groups = int(generator.integers(2, 6)), int(generator.choice([2, 3, 4]))
    heads = groups * kv_heads
    head_dim = 8 * int(generator.integers(2, 9))
    hidden = 8 * heads * int(generator.integers(3, 9))
    if hidden == heads * head_dim:
        hidden += 8 * heads
    return {
        "hidden_size": hidden,
        "intermediate_size": hidden + 16 * int(generator.integers(20, 120)),
        "num_hidden_layers": int(generator.integers(5, 29)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": 64 * int(generator.integers(100, 900)),
        "tie_word_embeddings": True,
        "r": int(generator.integers(2, 17)),
        "n": int(generator.integers(5, 40)),
    }


def counts_by_name(value: object) -> dict:
    """Several counts, each with its type."""
    return {name: kind_and_count(count) for name, count in dict(value).items()}
