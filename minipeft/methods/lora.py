"""LoRA: h = W0 x + s B A x, with s = alpha / r (or alpha / sqrt(r), rsLoRA).

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.
Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA" (rsLoRA).
Trained: A (r, in) and B (out, r) of each target, r (in + out) numbers; W0 (out, in) is frozen.
"""

import math
from typing import Self

from torch import Tensor, nn

from minipeft.core.layer import Tuner
from minipeft.methods.low_rank import low_rank_sum


class LoraTuner(Tuner):
    """h = W0 x + s B A dropout(x), for x (..., in)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        r: int,
        alpha: float,
        dropout: float = 0.0,
        use_rslora: bool = False,
    ) -> None:
        super().__init__()
        self.lora_A = nn.Linear(in_features, r, bias=False)  # weight (r, in)
        self.lora_B = nn.Linear(r, out_features, bias=False)  # weight (out, r)
        self.dropout = nn.Dropout(dropout)
        self.scaling = alpha / (math.sqrt(r) if use_rslora else r)

    def reset(self, init: bool | str) -> None:
        """Start A at random and B at zero, so that step 0 is the base, bit for bit."""
        if init is False:
            return  # as nn.Linear made them
        if init == "gaussian":
            nn.init.normal_(self.lora_A.weight, std=1 / self.lora_A.out_features)
        else:
            nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))  # +- 1 / sqrt(in)
        nn.init.zeros_(self.lora_B.weight)

    def started_from(self, layer: nn.Module) -> Self:
        """This, started from the frozen layer: DoRA and PiSSA read its weight."""
        return self

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        A, B = self.pair()
        seen = self.dropout(x.to(A.dtype))  # (..., in), 32 bits: the one cast
        return low_rank_sum(base, x, seen, A, B, self.scaling)

    def pair(self) -> tuple[Tensor, Tensor]:
        """A (r, in) and B (out, r) of the update s B A."""
        return self.lora_A.weight, self.lora_B.weight

    def factors(self) -> tuple[Tensor, Tensor]:
        A, B = self.pair()
        return A, self.scaling * B

    def merged(self, weight: Tensor) -> Tensor:
        A, B = self.factors()
        return weight + (B @ A).to(weight)  # (out, in)
