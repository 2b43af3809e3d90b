"""What attention and dropout keep for the backward pass, kernel by kernel.

The meta device computes both step by step. A GPU runs one kernel for each, a CPU one for attention
without dropout. What such a kernel saves is written down here:

    attention   q, k, v, the output, the logsumexp of each query (32 bits), on a GPU 16 bytes of
                random state, and a table of who sees whom where one is given, as wide as q
    dropout     on a GPU a mask of one byte for each number; on a CPU one as wide as the input

Dao et al. 2022, "FlashAttention", section 3.1; `derivatives.yaml` of PyTorch for the rest.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minipeft.core.meta_adapter import WithoutNumbers


class Kernels(WithoutNumbers):
    """Within the block attention and dropout keep what they keep on the device that is meant.

    gpu: a GPU, else a CPU. eager: attention step by step, with a table of queries times keys.
    """

    def __init__(self, gpu: bool, eager: bool) -> None:
        super().__init__()
        self.gpu, self.eager = gpu, eager

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run one of torch's functions, or its replacement."""
        kwargs = kwargs or {}
        if function is Tensor.__contains__ and args[0].is_meta:
            return False
        if function is F.dropout and self.gpu:
            return gpu_dropout(*args, **kwargs)
        if function is F.scaled_dot_product_attention:
            if self.eager:
                return eager_attention(self.gpu, *args, **kwargs)
            if self.gpu or not kwargs.get("dropout_p", (*args, 0, 0)[4]):
                return fused_attention(self.gpu, *args, **kwargs)
        return super().__torch_function__(function, types, args, kwargs)


@contextmanager
def without_autocast() -> Iterator[None]:
    """Within the block torch.autocast does nothing on the meta device, which it doesn't know."""
    autocast = torch.autocast

    def switch(device_type: str, *args: Any, **options: Any) -> Any:
        return nullcontext() if device_type == "meta" else autocast(device_type, *args, **options)

    torch.autocast = switch
    try:
        yield
    finally:
        torch.autocast = autocast


def gpu_dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """x with entries dropped; the mask that is kept has one byte for each."""
    return torch.native_dropout(x, p, True)[0] if training and p else x


def fused_attention(
    gpu: bool, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, *_: Any, **__: Any
) -> Tensor:
    """softmax(q k^T) v in one kernel, (batch, heads, length, head_dim)."""
    if attn_mask is not None and not attn_mask.is_floating_point():
        attn_mask = q.new_empty(attn_mask.shape)
    return FusedAttention.apply(q, k, v, attn_mask, gpu)


class FusedAttention(torch.autograd.Function):
    """The sizes of what flash attention makes and saves; it computes nothing."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, gpu: bool
    ) -> Tensor:
        out = torch.empty_like(q)  # the kernels lay it out as q
        out = out if q.shape[-1] == v.shape[-1] else q.new_empty(*q.shape[:-1], v.shape[-1])
        wide = torch.promote_types(q.dtype, torch.float32)
        logsumexp = q.new_empty(q.shape[:-1], dtype=wide)
        state = [q.new_empty(2, dtype=torch.int64)] if gpu else []
        ctx.save_for_backward(q, k, v, out, logsumexp, mask, *state)
        return out


def eager_attention(
    gpu: bool, q: Tensor, k: Tensor, v: Tensor, *rest: Any, enable_gqa: bool = False, **options: Any
) -> Tensor:
    """softmax(q k^T) v step by step; the scores (batch, heads, queries, keys) are kept."""
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()  # each is saved by itself
    dropout = gpu_dropout if gpu else F.dropout  # the mode is off within its own functions
    p = options.get("dropout_p", 0.0) if len(rest) < 2 else rest[1]
    return dropout((q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1), p) @ v
