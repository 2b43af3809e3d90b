"""AdaptedLinear: a frozen linear layer and the tuner on it. Merging is written here, once."""

import torch
from torch import Tensor, nn

from minipeft.core.layer import NotMergeable, Tuner
from minipeft.core.linear import (
    dense_weight,
    is_4bit,
    merged_dtype,
    requantized,
    with_weight,
)
from minipeft.core.sharded import copy_into, is_spread, whole_copy


class AdaptedLinear(nn.Module):
    """Composition of a base layer (nn.Linear or transformers' Conv1D) and one tuner.

    forward: x (..., in) -> (..., out), the tuner's output, or the plain layer's once merged.
    """

    def __init__(self, base_layer: nn.Module, tuner: Tuner) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.tuner = tuner
        # The original layer while merged; in a tuple, so that nn.Module does not register it.
        self.unmerged_layer: tuple[nn.Module, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        if self.merged:
            return self.base_layer(x)
        return self.tuner(x, self.base_layer)

    @property
    def weight(self) -> Tensor:
        """The base layer's weight: other code asks a layer for its dtype and device here."""
        return self.base_layer.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base_layer.bias

    @property
    def merged(self) -> bool:
        return bool(self.unmerged_layer)

    @torch.no_grad()
    def merged_tensors(self) -> tuple[Tensor, Tensor | None]:
        """W' (out, in) and b', or None where that is b; at least 32 bits each, and whole."""
        if is_spread(self):
            return whole_copy(self).merged_tensors()
        if self.tuner.why_apart is not None:  # then the base may be no linear layer, either
            raise NotMergeable(f"the adapter can't be merged: {self.tuner.why_apart}")
        wide = torch.promote_types(self.weight.dtype, torch.float32)
        weight = self.tuner.merged(dense_weight(self.base_layer).to(wide))
        bias = None if self.bias is None else self.bias.to(wide)
        merged_bias = self.tuner.merged_bias(bias)
        return weight, None if merged_bias is bias else merged_bias

    def merges_safely(self) -> bool:
        """Whether W' and b' are finite in W's dtype: 16 bits may overflow."""
        merged = [tensor for tensor in self.merged_tensors() if tensor is not None]
        dtype = merged_dtype(self.base_layer)
        return all(bool(torch.isfinite(tensor.to(dtype)).all()) for tensor in merged)

    @torch.no_grad()
    def merge(self, requantize: bool = False) -> float:
        """Set `base_layer` to a twin with W' and b'; `unmerged_layer` keeps the original.

        W' over 4 bits has 16, or with `requantize` 4 again. Returns the largest rounding error of
        W'. Raises RuntimeError when merged already (the update would count twice), NotMergeable.
        """
        if self.merged:
            raise RuntimeError("merged already: a second merge would add the update twice")
        source = whole_copy(self) if is_spread(self) else self
        exact, bias = source.merged_tensors()
        if bias is not None:
            bias = nn.Parameter(bias.to(merged_dtype(self.base_layer)), requires_grad=False)
        holding = requantized if requantize and is_4bit(self.base_layer) else with_weight
        twin = holding(source.base_layer, exact, source.bias if bias is None else bias)
        self.unmerged_layer, self.base_layer = (self.base_layer,), twin
        return (dense_weight(twin) - exact).abs().max().item()

    def unmerge(self) -> None:
        """Set `base_layer` to the original layer: exact, where subtracting the update rounds.

        Raises RuntimeError when not merged.
        """
        if not self.merged:
            raise RuntimeError("not merged: there is nothing to undo")
        merged = self.base_layer
        (self.base_layer,), self.unmerged_layer = self.unmerged_layer, ()
        self.base_layer.train(merged.training)

    def finalize_merge(self) -> nn.Module:
        """Forget W0 and return the layer that holds W': the original, or 4 bits' dense twin."""
        (own,), self.unmerged_layer = self.unmerged_layer, ()
        if is_4bit(own):
            return self.base_layer
        if is_spread(own):  # FSDP2 goes on to hold these very tensors
            copy_into(own.weight.detach(), self.base_layer.weight)
            if own.bias is not None:
                copy_into(own.bias.detach(), self.base_layer.bias)
            return own
        own.weight, own.bias = self.base_layer.weight, self.base_layer.bias
        return own
