"""What attention has read already: each layer's keys and values, kept for the tokens to come.

    k_all = [k_past; k_new],  v_all = [v_past; v_new]

A new token then costs one row of attention, and the past is not computed again. Rotary positions
are already in the keys. The entries may be learned just as well: prefix tuning fills a cache with
parameters, and gradients flow into them.

Source: Shazeer 2019, "Fast transformer decoding" (section 2.3); the names are transformers'.
"""

import inspect
import sys
from typing import Any

from torch import Tensor, cat, nn


class KeyValueCache:
    """Empty at first; every forward pass that is given it makes it longer."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int
    ) -> tuple[Tensor, Tensor]:
        """Append one layer's new keys and values, and give back all that it has now.

        Each is (batch, key/value heads, length, head_dim).

        Raises:
            ValueError: they differ from those of the past in more than the length.
        """
        if layer_idx in self.layers:
            past = self.layers[layer_idx]
            for old, new in zip(past, (key_states, value_states), strict=True):
                if (*old.shape[:2], old.shape[3]) != (*new.shape[:2], new.shape[3]):
                    raise ValueError(
                        f"the cache of layer {layer_idx} holds {tuple(old.shape)} (batch, heads, "
                        f"length, head_dim), which {tuple(new.shape)} can't continue"
                    )
            key_states = cat((past[0], key_states), dim=2)
            value_states = cat((past[1], value_states), dim=2)
        self.layers[layer_idx] = key_states, value_states
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many tokens a layer remembers."""
        return self.layers[layer_idx][0].shape[2] if layer_idx in self.layers else 0

    def copy(self) -> "KeyValueCache":
        """Another cache of the same tensors: updating one leaves the other as it is."""
        twin = KeyValueCache()
        twin.layers = dict(self.layers)
        return twin


def empty_cache(model: nn.Module) -> Any:
    """A cache of the kind that the model fills, or None for a model that takes none."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if hasattr(base, "new_cache"):
        return base.new_cache()
    transformers = sys.modules.get("transformers")  # imported already where a model is theirs
    if transformers is None or not isinstance(base, transformers.PreTrainedModel):
        return None
    takes = inspect.signature(base.forward).parameters
    return transformers.DynamicCache() if "past_key_values" in takes else None
