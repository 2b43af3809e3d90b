"""AdaptedLinear: a frozen linear layer and the tuner on it. Merging is written here, once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from minipeft.core.effective import EffectiveTensor
from minipeft.core.layer import NotMergeable, Tuner
from minipeft.core.linear import (
    as_out_in,
    check_affine,
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

    def __getattr__(self, name: str) -> Any:
        """What else other code asks a layer for, such as in_features or a norm's eps."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or name in ("base_layer", "tuner", "unmerged_layer"):
                raise
            return getattr(self.base_layer, name)

    @property
    def weight(self) -> Tensor:
        """The effective weight for code that reads it past `forward`; see EffectiveTensor.

        A product with it raises NotMergeable where the method's effect is not a weight.
        """
        if self.merged:
            return self.base_layer.weight
        return EffectiveTensor.of(self.base_layer.weight, self.effective_weight)

    @property
    def bias(self) -> Tensor | None:
        """The effective bias."""
        if self.merged or self.base_layer.bias is None:
            return self.base_layer.bias
        return EffectiveTensor.of(self.base_layer.bias, self.effective_bias)

    def effective_weight(self) -> Tensor:
        """W' in W0's dtype and layout, with gradients. Raises NotMergeable."""
        if self.tuner.why_apart is None and self.training and has_dropout(self.tuner):
            raise NotMergeable("its weight is read past its forward: no dropout can act there")
        weight = as_out_in(self.merged_weight(), self.base_layer)
        return weight.to(merged_dtype(self.base_layer))

    def effective_bias(self) -> Tensor:
        """b' in b's dtype, with gradients. Raises NotMergeable."""
        self.check_mergeable()
        bias = self.base_layer.bias
        wide = torch.promote_types(bias.dtype, torch.float32)
        return self.tuner.merged_bias(bias.to(wide)).to(bias.dtype)

    @property
    def merged(self) -> bool:
        return bool(self.unmerged_layer)

    def check_mergeable(self) -> None:
        """Raise NotMergeable where h is no W' x + b'."""
        if self.tuner.why_apart is not None:  # then the base may be no linear layer, either
            raise NotMergeable(f"the adapter can't be merged: {self.tuner.why_apart}")

    def merged_weight(self) -> Tensor:
        """W' (out, in), at least 32 bits. Raises NotMergeable."""
        self.check_mergeable()
        weight = dense_weight(self.base_layer)
        return self.tuner.merged(weight.to(torch.promote_types(weight.dtype, torch.float32)))

    @torch.no_grad()
    def merged_tensors(self) -> tuple[Tensor, Tensor | None]:
        """W' (out, in) and b', or None where that is b; at least 32 bits each, and whole."""
        if is_spread(self):
            return whole_copy(self).merged_tensors()
        weight, bias = self.merged_weight(), self.base_layer.bias
        wide = None if bias is None else bias.to(weight.dtype)
        merged_bias = self.tuner.merged_bias(wide)
        return weight, None if merged_bias is wide else merged_bias

    def merges_safely(self) -> bool:
        """Whether W' and b' are finite in W's dtype: 16 bits may overflow."""
        merged = [tensor for tensor in self.merged_tensors() if tensor is not None]
        dtype = merged_dtype(self.base_layer)
        return all(bool(torch.isfinite(tensor.to(dtype)).all()) for tensor in merged)

    @torch.no_grad()
    def merged_twin(self, requantize: bool = False) -> tuple[nn.Module, float]:
        """A twin of `base_layer` with W' and b', and the largest rounding error of W'.

        W' over 4 bits has 16, or with `requantize` 4 again. Changes nothing.
        Raises RuntimeError when merged already (the update would count twice), NotMergeable.
        """
        if self.merged:
            raise RuntimeError("merged already: a second merge would add the update twice")
        source = whole_copy(self) if is_spread(self) else self
        exact, bias = source.merged_tensors()
        check_affine(source.base_layer)
        if bias is not None:
            bias = nn.Parameter(bias.to(merged_dtype(self.base_layer)), requires_grad=False)
        holding = requantized if requantize and is_4bit(self.base_layer) else with_weight
        own = source.base_layer
        twin = holding(own, exact, own.bias if bias is None else bias)
        return twin, (dense_weight(twin) - exact).abs().max().item()

    def put_twin(self, twin: nn.Module) -> None:
        """Set `base_layer` to a merged twin; `unmerged_layer` keeps the original."""
        self.unmerged_layer, self.base_layer = (self.base_layer,), twin

    def merge(self, requantize: bool = False) -> float:
        """Set `base_layer` to its merged twin, and return and raise what `merged_twin` does."""
        twin, error = self.merged_twin(requantize)
        self.put_twin(twin)
        return error

    @contextmanager
    def unmerged(self) -> Iterator[None]:
        """Within the block `base_layer` is the original one, merged or not."""
        twin = self.base_layer
        if self.merged:
            (self.base_layer,) = self.unmerged_layer
        try:
            yield
        finally:
            self.base_layer = twin

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Tensor]:
        """W0 and what is learned, merged or not: W' would count the update twice when loaded."""
        with self.unmerged():
            return super().state_dict(*args, **options)

    def _load_from_state_dict(self, *args: Any) -> None:
        if self.merged:
            raise RuntimeError(
                "merged: W' would not change; unmerge_adapter() comes before loading"
            )
        super()._load_from_state_dict(*args)

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


def has_dropout(tuner: Tuner) -> bool:
    """Whether the tuner drops entries while training."""
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in tuner.modules())
