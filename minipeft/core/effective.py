"""What other code reads as `layer.weight`: W0 to look at, and W' in a product.

Some models read a layer's weight and never call the layer: nn.TransformerEncoderLayer in eval mode
hands it to a kernel, Bloom multiplies with slices of it. The adapter must act there, too.
"""

from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

PRODUCTS = {
    F.linear, F.multi_head_attention_forward, Tensor.__matmul__, Tensor.__rmatmul__, Tensor.matmul,
    Tensor.mm, Tensor.bmm, torch.addmm, torch.bmm, torch.einsum, torch.matmul, torch.mm,
}  # fmt: skip
# What gives the same weight in another form: W' stays behind it.
FORMS = {
    Tensor.T.__get__, Tensor.mT.__get__, Tensor.__getitem__, Tensor.bfloat16, Tensor.contiguous,
    Tensor.detach, Tensor.double, Tensor.float, Tensor.half, Tensor.narrow, Tensor.reshape,
    Tensor.t, Tensor.to, Tensor.transpose, Tensor.type_as, Tensor.view, torch.transpose,
}  # fmt: skip


class EffectiveTensor(Tensor):
    """A view of W0 or b that a product takes as W' or b'.

    torch's own kernels leave a tensor with __torch_function__ alone, and so call the layer instead.
    """

    worked_out: Callable[[], Tensor]

    @classmethod
    def of(cls, plain: Tensor, worked_out: Callable[[], Tensor]) -> Self:
        """A view of `plain`, in whose place a product takes `worked_out()`."""
        view = plain.as_subclass(cls)
        view.worked_out = worked_out
        return view

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in PRODUCTS:
            named = {name: worked_out(value) for name, value in kwargs.items()}
            return func(*(worked_out(value) for value in args), **named)
        with torch._C.DisableTorchFunctionSubclass():
            answer = func(*args, **kwargs)
        if func in FORMS and isinstance(args[0], EffectiveTensor):
            return cls.of(answer, lambda: func(args[0].worked_out(), *args[1:], **kwargs))
        return answer


def worked_out(value: Any) -> Any:
    """W' for an effective W0, alone or in a list; anything else as it is."""
    if isinstance(value, list | tuple):
        return type(value)(worked_out(one) for one in value)
    return value.worked_out() if isinstance(value, EffectiveTensor) else value
