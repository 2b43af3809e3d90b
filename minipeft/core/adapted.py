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
        """W0, in whose place a product of other code reads W'; see EffectiveTensor.

        Such a product raises NotMergeable where the method has no W'.
        """
        if self.merged:
            return self.base_layer.weight
        return EffectiveTensor.of(self.base_layer.weight, self.effective_weight)

    @property
    def bias(self) -> Tensor | None:
        """b, in whose place a product of other code reads b'."""
        if self.merged or self.base_layer.bias is None:
            return self.base_layer.bias
        return EffectiveTensor.of(self.base_layer.bias, self.effective_bias)

    def effective_weight(self) -> Tensor:
        """W' in W0's dtype and layout, with gradients. Raises NotMergeable."""
        if self.tuner.why_apart is None and self.training and has_dropout(self.tuner):
            raise NotMergeable("its weight is read past its forward: no dropout can act there")
        weight, _ = self.merged_tensors()
        return as_out_in(weight, self.base_layer).to(merged_dtype(self.base_layer))

    def effective_bias(self) -> Tensor:
        """b' in b's dtype, with gradients. Raises NotMergeable."""
        _, bias = self.merged_tensors()
        return bias.to(self.base_layer.bias.dtype)

    @property
    def merged(self) -> bool:
        return bool(self.unmerged_layer)

    def merged_tensors(self) -> tuple[Tensor, Tensor | None]:
        """W' (out, in) and b' (out,), in 32 bits at least, with gradients. Raises NotMergeable."""
        if self.tuner.why_apart is not None:  # then the base may be no linear layer, either
            raise NotMergeable(f"the adapter can't be merged: {self.tuner.why_apart}")
        weight, bias = dense_weight(self.base_layer), self.base_layer.bias
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
        bias = None if bias is None else bias.to(weight.dtype)
        return self.tuner.merged(weight), self.tuner.merged_bias(bias)

    @torch.no_grad()
    def merged_twin(self, requantize: bool = False, safe: bool = False) -> tuple[nn.Module, float]:
        """A twin of `base_layer` with W' and b', and the largest rounding error of W'.

        W' over 4 bits has 16, or with `requantize` 4 again. Changes nothing.
        Raises RuntimeError when merged already (the update would count twice), NotMergeable, and
        with `safe` ValueError where W' or b' has NaN or inf in W0's dtype.
        """
        if self.merged:
            raise RuntimeError("merged already: a second merge would add the update twice")
        layer = self.base_layer
        weight, bias = self.merged_tensors()
        check_affine(layer)
        dtype = merged_dtype(layer)
        finite = (held.to(dtype).isfinite().all() for held in (weight, bias) if held is not None)
        if safe and not all(finite):
            raise ValueError(f"merging would put NaN or inf into its {dtype}")
        if bias is not None and layer.bias is not None and torch.equal(bias, layer.bias.to(bias)):
            bias = layer.bias  # b' is b: the very parameter, which may be trained
        elif bias is not None:
            bias = nn.Parameter(bias.to(dtype), requires_grad=False)
        holding = requantized if requantize and is_4bit(layer) else with_weight
        twin = holding(layer, weight, bias)
        return twin, (dense_weight(twin) - weight).abs().max().item()

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
        own.weight, own.bias = self.base_layer.weight, self.base_layer.bias
        return own


def has_dropout(tuner: Tuner) -> bool:
    """Whether the tuner drops entries while training."""
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in tuner.modules())
