"""AdaptedLinear's `weight` and `bias` for code that reads them and never calls the layer.

nn.TransformerEncoderLayer in eval mode hands weights to a fused kernel, Bloom multiplies with
slices of them: with W0 in such a product the adapter would do nothing. Whoever looks at a weight,
or adds to it, sees W0, as in peft.
"""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

# Functions of torch, by name: products, and what gives the same weight in another form.
PRODUCTS = {
    *("__matmul__", "__rmatmul__", "addbmm", "addmm", "addmv", "baddbmm", "bilinear", "bmm"),
    *("einsum", "linear", "matmul", "mm", "multi_head_attention_forward", "mv", "tensordot"),
}
FORMS = {
    *("__getitem__", "bfloat16", "cat", "chunk", "concat", "contiguous", "detach", "double"),
    *("expand", "flatten", "float", "half", "movedim", "narrow", "permute", "repeat", "reshape"),
    *("select", "split", "squeeze", "stack", "swapaxes", "t", "to", "transpose", "type_as"),
    *("unbind", "unflatten", "unsqueeze", "view"),
}
TRANSPOSED = {Tensor.T.__get__, Tensor.mT.__get__, Tensor.H.__get__, Tensor.mH.__get__}


class EffectiveTensor(Tensor):
    """A view of W0 or b, in whose place a product reads W' or b'.

    torch's fused kernels pass over a tensor that has a __torch_function__, and call the layer.
    """

    effective: Callable[[], Tensor]

    @classmethod
    def of(cls, plain: Tensor, effective: Callable[[], Tensor]) -> Self:
        """A view of `plain`, in whose place a product reads `effective()`."""
        view = plain.as_subclass(cls)
        view.effective = effective
        return view

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}

        def with_effective() -> Any:
            all_args, all_kwargs = tree_map(effective, (args, kwargs))
            return func(*all_args, **all_kwargs)

        if func.__name__ in PRODUCTS:
            return with_effective()
        with torch._C.DisableTorchFunctionSubclass():
            answer = func(*args, **kwargs)
        own = any(isinstance(value, EffectiveTensor) for value in tree_leaves(args[:1]))
        if not own or not (func.__name__ in FORMS or func in TRANSPOSED):
            return answer
        if isinstance(answer, Tensor):
            return cls.of(answer, with_effective)
        parts = enumerate(answer)  # of chunk, split, unbind
        return tuple(cls.of(part, lambda i=i: with_effective()[i]) for i, part in parts)


def effective(value: Any) -> Any:
    """W' for an EffectiveTensor, anything else as it is."""
    return value.effective() if isinstance(value, EffectiveTensor) else value
