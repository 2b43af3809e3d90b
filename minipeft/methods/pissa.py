"""PiSSA: h = (W0 - s B0 A0) x + s B A x, where s B0 A0 is the best approximation of W0 at rank r.

Meng et al. 2024, "PiSSA: Principal Singular Values and Singular Vectors Adaptation", section 3.
Trained: A (r, in) and B (out, r), which start as A0 and B0: from W0 = U S V^T, the r largest
singular values in A0 = (S / s)^(1/2) V^T and B0 = U (S / s)^(1/2). W0 (out, in) is frozen.

The paper, and peft, put the residual W0 - s B0 A0 into the base. Here the base is never touched:
A0 and B0 are kept instead, r (in + out) numbers that are found again from W0 whenever an adapter
is built or opened, and

    B A - B0 A0 = (B - B0) A + B0 (A - A0),

a LoRA of rank 2r, is added to W0. At the start both differences are zero, so the start is the base
bit for bit (in peft: to rounding). Files hold A and B, as peft's do, and belong to this base's
residual; a plain LoRA of rank 2r that fits the base itself is written by
`save_pretrained(folder, path_initial_model_for_weight_conversion=...)`. Over a 4-bit base this
starts from the quantized weight, where the paper quantizes the residual.
"""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minipeft.core.linear import dense_weight
from minipeft.methods import fast
from minipeft.methods.lora import LoraConfig, LoraLayer, variant


@variant(lambda config: config.init_lora_weights == "pissa")
class PissaLayer(LoraLayer):
    """h = W0 x + s (B A - B0 A0) x, for x (..., in)."""

    @classmethod
    def check_config(cls, config: LoraConfig) -> None:
        if config.use_dora:
            raise ValueError(
                'init_lora_weights="pissa" and use_dora=True are not built together; choose one'
            )
        for name, alpha in {"lora_alpha": config.lora_alpha, **config.alpha_pattern}.items():
            if alpha <= 0:
                raise ValueError(
                    f'{name}={alpha!r} must be above 0 with init_lora_weights="pissa", which '
                    "divides the singular values by the scale; say 8"
                )

    @torch.no_grad()
    def init_from(self, layer: nn.Module) -> Self:
        """Compute A0 and B0 by a singular value decomposition; A and B start equal to them."""
        A, B = self.lora_A.weight, self.lora_B.weight
        U, S, V = torch.linalg.svd(dense_weight(layer).to(A.dtype), full_matrices=False)
        root = (S[: len(A)] / self.scaling).sqrt()  # (r,)
        A.copy_(root.unsqueeze(1) * V[: len(A)])
        B.copy_(U[:, : len(A)] * root)
        self.register_buffer("start_A", A.clone(), persistent=False)  # A0 (r, in)
        self.register_buffer("start_B", B.clone(), persistent=False)  # B0 (out, r)
        return self

    def low_rank(self) -> tuple[Tensor, Tensor, float]:
        """(2r, in) and (out, 2r), whose product is B A - B0 A0: exactly zero at the start."""
        A, B = self.lora_A.weight, self.lora_B.weight
        both = torch.cat([A, A - self.start_A])
        return both, torch.cat([B - self.start_B, self.start_B], dim=1), self.scaling

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        A, B, s = self.low_rank()
        x_wide = x.to(A.dtype)  # (..., in), 32 bits: the one cast
        x_dropped = self.dropout(x_wide)
        if fast.applies(base, x, A, B):
            h = fast.low_rank(base, x, x_dropped, A, B, s)
        else:
            h = base(x)  # W0 x + b, (..., out)
            h = (h + s * F.linear(F.linear(x_dropped, A), B)).to(h.dtype)
        if x_dropped is not x_wide:  # dropout is for B A: the residual W0 - s B0 A0 sees all of x
            dropped = F.linear(F.linear(x_dropped - x_wide, self.start_A), self.start_B)
            h = h + (s * dropped).to(h.dtype)
        return h
