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

from minipeft.core.layer import Tuner
from minipeft.core.linear import dense_weight
from minipeft.methods import fast
from minipeft.methods.fast import direction, row_norms
from minipeft.methods.lora import LoraLayer, variant


@variant(lambda config: config.use_dora)
class DoraLayer(LoraLayer):
    """h = b + g * (W0 x + s B A x), for x (..., in)."""

    low_rank = Tuner.low_rank  # raises NotMergeable: g scales W0, too, so W' - W0 is not s B A

    def init_from(self, layer: nn.Module) -> Self:
        self.lora_magnitude_vector = nn.Parameter(self.norm(dense_weight(layer)))  # m (out,)
        return self

    @torch.no_grad()
    def norm(self, weight: Tensor) -> Tensor:
        """||W0 + s B A|| of each row (out,)."""
        A, B = self.lora_A.weight, self.lora_B.weight
        return row_norms(direction(weight, A, B, self.scaling)).to(A.dtype)

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        A, B, s = self.lora_A.weight, self.lora_B.weight, self.scaling
        x_wide = x.to(A.dtype)  # (..., in), 32 bits: the one cast
        x_dropped = self.dropout(x_wide)
        precise = x.dtype.itemsize >= 4  # 16 bits would round a small update of W0 away
        alone = precise and x_dropped is x and fast.is_plain(self.lora_A, self.lora_B)
        if alone and fast.applies(base, x, A, B, frozen=True):
            return fast.dora(base, x, A, B, self.lora_magnitude_vector, s)
        g = self.lora_magnitude_vector / self.norm(dense_weight(base))
        h = base(x)  # W0 x + b, (..., out)
        # As in peft, dropout is for what is added to W0 x alone; without it this is b + g * (...).
        W0x = h if x_dropped is x_wide else base(x_dropped.to(x.dtype))
        W0x = W0x if base.bias is None else W0x - base.bias
        return (h + (g - 1) * W0x + g * s * self.lora_B(self.lora_A(x_dropped))).to(h.dtype)

    def merged(self, weight: Tensor) -> Tensor:
        A, B, s = self.lora_A.weight, self.lora_B.weight, self.scaling
        V = weight + s * (B @ A).to(weight)  # (out, in)
        g = self.lora_magnitude_vector.to(weight) / row_norms(V.detach())  # section 4.3
        return g.unsqueeze(1) * V
