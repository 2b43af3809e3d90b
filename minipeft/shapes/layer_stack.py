"""The layers of a transformer by their sizes: equal ones, one after the other."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LayerStack:
    """Equal transformer layers: their number, and the widths inside one.

    gated: the MLP has two matrices up. cross: each layer also attends to another stack.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    gated: bool = False
    cross: bool = False


def stacks_of(config: Any) -> list[LayerStack]:
    """One stack, or an encoder's and a decoder's, from the fields of a config."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    plan = str(getattr(config, "feed_forward_proj", ""))
    one = LayerStack(
        layers=config.num_hidden_layers,
        hidden=hidden,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or hidden // heads,
        inner=getattr(config, "intermediate_size", None) or 4 * hidden,
        gated=plan.startswith("gated") or getattr(config, "hidden_act", "") == "silu",
    )
    decoder = getattr(config, "num_decoder_layers", None) or getattr(config, "decoder_layers", None)
    if not decoder:
        return [one]
    return [one, LayerStack(**vars(one) | {"layers": decoder, "cross": True})]
