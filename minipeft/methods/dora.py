"""DoRA: h = b + g * (W0 + s B A) x, where row j of g is m_j / ||row j of (W0 + s B A)||.

Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", section 4.1 (the equation) and 4.3
(the norm counts as a constant in the backward pass).
Trained: LoRA's A (r, in) and B (out, r) for the direction, m (out,) for the magnitude. m starts as
the norm of W0's rows, so that g is 1 and the start is the base, bit for bit. The paper stores W0 as
(in, out) and says columns; a layer here has one row, and so one magnitude, for each output.
"""

from typing import Self

import torch
from torch import Tensor, nn

from minipeft.linear import dense_weight
from minipeft.methods.lora import LoraTuner
from minipeft.methods.tuner import Tuner


class DoraTuner(LoraTuner):
    """h = b + g * (W0 x + s B A x), for x (..., in)."""

    factors = Tuner.factors  # there are none: g scales W0, too

    def started_from(self, layer: nn.Module) -> Self:
        self.lora_magnitude_vector = nn.Parameter(self.norm(dense_weight(layer)))  # m (out,)
        return self

    @torch.no_grad()
    def norm(self, weight: Tensor) -> Tensor:
        """||W0 + s B A|| of each row (out,), without a matrix of that size:

        ||w + s b A||^2 = ||w||^2 + s (2 w A^T + s b A A^T) . b, where b is the row of B.
        """
        dtype = torch.promote_types(self.lora_A.weight.dtype, torch.float32)
        A, B, s = self.lora_A.weight.to(dtype), self.lora_B.weight.to(dtype), self.scaling
        with torch.autocast("cuda" if weight.is_cuda else "cpu", enabled=False):
            cross = torch.addmm(weight.to(dtype) @ A.T, B, A @ A.T, beta=2, alpha=s)  # (out, r)
        squares = torch.linalg.vector_norm(weight, dim=1, dtype=dtype).square()
        squares.add_((cross * B).sum(dim=1), alpha=s)
        # A row of zeros has g = 0 / tiny: it stays zero, where 0 / 0 would be NaN.
        norm = squares.clamp_(min=torch.finfo(dtype).tiny).sqrt_()
        return norm.to(self.lora_A.weight.dtype)

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        h = base(x)  # (..., out)
        wide = x.to(self.lora_A.weight.dtype)  # (..., in)
        if not (self.training and self.dropout.p):
            return self.rescaled(wide, h, base)
        wide = self.dropout(wide)
        dropped = base(wide.to(x.dtype))
        # As in peft: W0 x stays whole, and what DoRA adds to it sees the dropped input alone.
        return h - dropped + self.rescaled(wide, dropped, base)

    def rescaled(self, x: Tensor, h: Tensor, base: nn.Module) -> Tensor:
        """b + g * (h - b + s B A x): g goes to both summands, since one of them is narrow."""
        g, b = self.lora_magnitude_vector / self.norm(dense_weight(base)), base.bias  # (out,)
        rows = h.reshape(-1, h.shape[-1])  # (positions, out)
        rows = rows * g if b is None else torch.addcmul(b - g * b, rows, g)
        low = self.lora_A(x).view(-1, self.lora_A.out_features)  # (positions, r)
        up = (g.unsqueeze(1) * self.lora_B.weight).T.contiguous()  # (r, out)
        if rows.dtype == low.dtype:
            rows.addmm_(low, up, alpha=self.scaling)  # these rows are nobody else's
        else:  # under autocast
            rows = rows + self.scaling * (low @ up)
        return rows.view(h.shape).to(h.dtype)

    def merged(self, weight: Tensor) -> Tensor:
        A, B = super().factors()
        whole = weight + (B @ A).to(weight)  # (out, in)
        g = self.lora_magnitude_vector / torch.linalg.vector_norm(whole, dim=1)
        return g.to(weight).unsqueeze(1) * whole
