"""h = W0 x + b + s B A x, as all methods compute it whose update is a product of narrow matrices.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1, equation 3.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.compiler import is_compiling

from minipeft.core.layer import as_rows


def low_rank_sum(
    base: nn.Module, x: Tensor, seen: Tensor, A: Tensor, B: Tensor, scale: float
) -> Tensor:
    """base(x) + s B A seen, for x and seen (..., in), A (r, in), B (out, r), in base(x)'s dtype.

    seen: x as A sees it, in A's dtype and after dropout; x itself where that changes nothing.
    """
    rows = as_rows(x, base)  # (positions, in)
    h = base(rows)
    low = F.linear(rows if seen is x else seen.view_as(rows), A)  # (positions, r)
    if rows is not x and h.dtype == low.dtype == B.dtype and not is_compiling():
        h = AddProduct.apply(h, low, B, scale)
    else:
        h = (h + scale * F.linear(low, B)).to(h.dtype)
    return h.view(*x.shape[:-1], h.shape[-1])


class AddProduct(torch.autograd.Function):
    """h + s l B^T for h (positions, out), l (positions, r) and B (out, r), into h's memory.

    Plain autograd writes s l B^T as wide as h, reads it again for the scale and once more for the
    sum. And its dB = dh^T l takes a processor far longer than the transpose of l^T dh.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, low: Tensor, B: Tensor, scale: float) -> Tensor:
        ctx.mark_dirty(h)
        ctx.save_for_backward(low, B)
        ctx.scale = scale
        return h.addmm_(low, B.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor | None, ...]:
        (low, B), s = ctx.saved_tensors, ctx.scale
        return dh, (dh @ B).mul_(s), (low.T @ dh).mul_(s).T, None
