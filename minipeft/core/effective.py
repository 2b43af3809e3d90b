"""What other code reads as `layer.weight`: W0 to ask for dtype and device, W' to compute with.

Some code reads a layer's weight past its forward: nn.TransformerEncoderLayer in eval mode, Bloom's
sliced products, Mamba's kernels. An adapter must act there, too. As under torch.nn.utils.parametrize
`layer.weight` is therefore the effective weight; `layer.base_layer.weight` is W0.
"""

from collections.abc import Callable
from typing import Any, Self

from torch import Tensor
from torch.utils._pytree import tree_map

# What is asked of a tensor without reading its numbers. W' is not worked out for these.
ASKED = {
    getattr(Tensor, name).__get__
    for name in ("device", "dtype", "grad", "is_cuda", "is_meta", "layout", "requires_grad", "shape")
}


class EffectiveTensor(Tensor):
    """A view of W0 or b that turns into W' or b' as soon as a function of torch is called on it.

    torch's own fast paths leave a tensor with __torch_function__ alone, and call the layer instead.
    """

    worked_out: Callable[[], Tensor]

    @classmethod
    def of(cls, plain: Tensor, worked_out: Callable[[], Tensor]) -> Self:
        """A view of `plain`, which `worked_out()` stands in for in every computation."""
        view = plain.detach().as_subclass(cls)
        view.worked_out = worked_out
        return view

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func in ASKED:
            return super().__torch_function__(func, types, args, kwargs)
        args, kwargs = tree_map(worked_out, (args, kwargs or {}))
        return func(*args, **kwargs)


def worked_out(value: Any) -> Any:
    """W' for an effective W0; anything else as it is."""
    return value.worked_out() if isinstance(value, EffectiveTensor) else value
