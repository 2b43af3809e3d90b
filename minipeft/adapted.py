"""AdaptedLinear: a frozen linear layer and the tuner on it. Merging is written here, once."""

import torch
from torch import Tensor, nn

from minipeft.methods.tuner import Tuner


def is_conv1d(layer: nn.Module) -> bool:
    """GPT-2's linear layer in transformers, whose weight is stored as (in, out)."""
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf")


def is_linear(layer: nn.Module) -> bool:
    """Whether a tuner can sit on this layer."""
    return isinstance(layer, nn.Linear) or is_conv1d(layer)


def oriented(weight: Tensor, layer: nn.Module) -> Tensor:
    """Turn a weight from the layer's own layout to (out, in), or back: a view either way."""
    return weight.T if is_conv1d(layer) else weight


class AdaptedLinear(nn.Module):
    """Composition of a base layer (nn.Linear or transformers' Conv1D) and one tuner.

    forward: x (..., in) -> (..., out), the tuner's output, or the plain layer's once merged.
    """

    def __init__(self, base_layer: nn.Module, tuner: Tuner) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.tuner = tuner
        # W0, put aside while W' is in its place. In a tuple, where it is no parameter of the model.
        self.kept: tuple[nn.Parameter, ...] = ()

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
        return bool(self.kept)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """W' in the layer's own layout and at least 32 bits, before it is rounded to W's dtype."""
        weight = self.base_layer.weight
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
        return oriented(self.tuner.merged(oriented(weight, self.base_layer)), self.base_layer)

    def merges_safely(self) -> bool:
        """Whether W' is finite in W's dtype: 16 bits may overflow."""
        return bool(torch.isfinite(self.merged_weight().to(self.weight.dtype)).all())

    @torch.no_grad()
    def merge(self) -> float:
        """Put W' in place of W0, which is kept aside. Returns the largest rounding error of W'.

        Raises RuntimeError when merged already (the update would count twice) and NotMergeable.
        """
        if self.merged:
            raise RuntimeError("merged already: a second merge would add the update twice")
        exact = self.merged_weight()
        kept = self.base_layer.weight
        rounded = exact.to(kept.dtype).contiguous()
        self.base_layer.weight = nn.Parameter(rounded, requires_grad=False)
        self.kept = (kept,)
        return (rounded - exact).abs().max().item()

    def unmerge(self) -> None:
        """Put the very W0 back: exact, where subtracting the update would only come close.

        Raises RuntimeError when not merged.
        """
        if not self.merged:
            raise RuntimeError("not merged: there is nothing to undo")
        now, (kept,) = self.base_layer.weight, self.kept
        kept.data = kept.data.to(now.device, now.dtype)  # the model may have moved
        self.base_layer.weight, self.kept = kept, ()
