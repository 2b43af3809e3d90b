"""AdaptedLinear: a frozen linear layer and the tuner on it. Merging is written here, once."""

import torch
from torch import Tensor, nn

from minipeft.linear import dense_weight, oriented
from minipeft.methods.tuner import NotMergeable, Tuner


class AdaptedLinear(nn.Module):
    """Composition of a base layer (nn.Linear or transformers' Conv1D) and one tuner.

    forward: x (..., in) -> (..., out), the tuner's output, or the plain layer's once merged.
    """

    def __init__(self, base_layer: nn.Module, tuner: Tuner) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.tuner = tuner
        # W0 and b0, put aside while W' and b' stand there: no parameters of the model meanwhile.
        self.kept: tuple[nn.Parameter | None, ...] = ()

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
    def merged_tensors(self) -> tuple[Tensor, Tensor | None]:
        """W' in the layer's own layout and b', or None where that is b; at least 32 bits each."""
        if self.tuner.why_apart is not None:  # then the base may be no linear layer, either
            raise NotMergeable(f"the adapter can't be merged: {self.tuner.why_apart}")
        wide = torch.promote_types(self.weight.dtype, torch.float32)
        weight = self.tuner.merged(dense_weight(self.base_layer).to(wide))
        bias = None if self.bias is None else self.bias.to(wide)
        merged_bias = self.tuner.merged_bias(bias)
        return oriented(weight, self.base_layer), None if merged_bias is bias else merged_bias

    def merges_safely(self) -> bool:
        """Whether W' and b' are finite in W's dtype: 16 bits may overflow."""
        merged = [tensor for tensor in self.merged_tensors() if tensor is not None]
        return all(bool(torch.isfinite(tensor.to(self.weight.dtype)).all()) for tensor in merged)

    @torch.no_grad()
    def merge(self) -> float:
        """Put W' and b' in place of W0 and b0, which are kept aside.

        Returns the largest rounding error of W'. Raises RuntimeError when merged already (the
        update would count twice) and NotMergeable.
        """
        if self.merged:
            raise RuntimeError("merged already: a second merge would add the update twice")
        exact, bias = self.merged_tensors()
        self.kept = (self.base_layer.weight, self.base_layer.bias)
        rounded = exact.to(self.weight.dtype).contiguous()
        self.base_layer.weight = nn.Parameter(rounded, requires_grad=False)
        if bias is not None:
            self.base_layer.bias = nn.Parameter(bias.to(rounded.dtype), requires_grad=False)
        return (rounded - exact).abs().max().item()

    def unmerge(self) -> None:
        """Put the very W0 and b0 back: exact, where subtracting the update only comes close.

        Raises RuntimeError when not merged.
        """
        if not self.merged:
            raise RuntimeError("not merged: there is nothing to undo")
        now = self.base_layer.weight
        for kept in self.kept:
            if kept is not None:
                kept.data = kept.data.to(now.device, now.dtype)  # the model may have moved
        self.base_layer.weight, self.base_layer.bias = self.kept
        self.kept = ()
