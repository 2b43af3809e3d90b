"""DoRA: h = b + g * (W0 + s B A) x, where row j of g is m_j / ||row j of (W0 + s B A)||.

Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", section 4.1 (the equation) and 4.3
(the norm counts as a constant in the backward pass).
Trained: LoRA's A (r, in) and B (out, r) for the direction, m (out,) for the magnitude. m starts as
the norm of W0's rows, so that g is 1 and the start is the base, bit for bit. The paper stores W0 as
(in, out) and says columns; a layer here has one row, and so one magnitude, for each output.
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.compiler import is_compiling

from minipeft.core.layer import Tuner
from minipeft.core.linear import dense_weight, frozen_product
from minipeft.methods.lora import LoraTuner, variant
from minipeft.methods.low_rank import low_rank_sum


@variant(lambda config: config.use_dora)
class DoraTuner(LoraTuner):
    """h = b + g * (W0 x + s B A x), for x (..., in)."""

    low_rank = Tuner.low_rank  # there is none: g scales W0, too

    def started_from(self, layer: nn.Module) -> Self:
        self.lora_magnitude_vector = nn.Parameter(self.norm(dense_weight(layer)))  # m (out,)
        return self

    @torch.no_grad()
    def norm(self, weight: Tensor) -> Tensor:
        """||W0 + s B A|| of each row (out,)."""
        A, B = self.lora_A.weight, self.lora_B.weight
        return row_norms(direction(weight, A, B, self.scaling)).to(A.dtype)

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        wide = x.to(self.lora_A.weight.dtype)  # (..., in)
        if not (self.training and self.dropout.p):
            return self.magnified(x, wide, base)
        seen = self.dropout(wide)
        # As in peft: W0 x stays whole, and what DoRA adds to it sees the dropped input alone.
        h = self.magnified(seen.to(x.dtype), seen, base) + base((wide - seen).to(x.dtype))
        return h if base.bias is None else h - base.bias

    def magnified(self, x: Tensor, wide: Tensor, base: nn.Module) -> Tensor:
        """b + g * (W0 + s B A) x, for x (..., in), which is given in A's dtype, too."""
        A, B, m = self.lora_A.weight, self.lora_B.weight, self.lora_magnitude_vector
        precise = x.dtype.itemsize >= 4  # 16 bits would round a small update of W0 away
        if wide is x and precise and frozen_product(base, x) and not is_compiling():
            rows = x.flatten(0, -2)  # (positions, in)
            return DenseProduct.apply(rows, A, B, m, base, self.scaling).view(*x.shape[:-1], -1)
        h = low_rank_sum(base, x, wide, A, B, self.scaling)
        return rescaled(h, m / self.norm(dense_weight(base)), base.bias).to(h.dtype)

    def merged(self, weight: Tensor) -> Tensor:
        A, B = self.lora_A.weight, self.scaling * self.lora_B.weight
        whole = weight + (B @ A).to(weight)  # (out, in)
        g = self.lora_magnitude_vector / torch.linalg.vector_norm(whole, dim=1)
        return g.to(weight).unsqueeze(1) * whole


def rescaled(h: Tensor, g: Tensor, b: Tensor | None) -> Tensor:
    """b + g * (h - b), for h (..., out), g (out,) and b (out,)."""
    return h * g if b is None else torch.addcmul(b - g * b, h, g)


def direction(weight: Tensor, A: Tensor, B: Tensor, s: float) -> Tensor:
    """W0 + s B A (out, in), in 32 bits at least."""
    dtype = torch.promote_types(A.dtype, torch.float32)
    # In place, into a copy: autocast leaves such products as wide as they are.
    return weight.to(dtype, copy=True).addmm_(B.to(dtype), A.to(dtype), alpha=s)


def row_norms(V: Tensor) -> Tensor:
    """||V|| of each row (out,), for V (out, in)."""
    # A row of zeros has g = 0 / tiny: it stays zero, where 0 / 0 would be NaN.
    return torch.linalg.vector_norm(V, dim=1).clamp_(min=torch.finfo(V.dtype).tiny)


class DenseProduct(torch.autograd.Function):
    """b + g * (x V^T) with V = W0 + s B A (out, in), for x (positions, in); W0 and b are frozen.

    The norm needs all of V. With V made for it, one product takes the place of three, by W0, A and
    B. V is dropped then, or it would wait in each layer: the way back is LoRA's, by all three.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, A: Tensor, B: Tensor, m: Tensor, base: nn.Module, s: float
    ) -> Tensor:
        V = direction(dense_weight(base, x.dtype), A, B, s)
        b = None if base.bias is None else base.bias.to(x.dtype)
        h, norm = F.linear(x, V, b), row_norms(V)
        g = m / norm
        ctx.save_for_backward(x, A, B, h, g, norm, base.weight)  # autograd notices if one changes
        ctx.base, ctx.scale = base, s
        return rescaled(h, g, b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (x, A, B, h, g, norm, _), s, b = ctx.saved_tensors, ctx.scale, ctx.base.bias
        dh = dy * h
        dg = dh.sum(0) if b is None else dh.sum(0) - b * dy.sum(0)
        torch.mul(dy, g, out=dh)
        dlow = (dh @ B).mul_(s)  # (positions, r)
        dA = dlow.T @ x
        dB = ((x @ A.T).T @ dh).mul_(s).T
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (dh @ dense_weight(ctx.base, dy.dtype)).addmm_(dlow, A)
        return dx, dA, dB, dg / norm, None, None
