"""The hard concrete gate: z in [0, 1], often exactly 0 or 1, and yet alpha gets a gradient.

    z = min(1, max(0, s (r - l) + l))     s = sigmoid((log u - log(1 - u) + alpha) / beta)

Louizos, Welling and Kingma 2018, "Learning Sparse Neural Networks through L0 Regularization",
section 2.2, with noise u ~ U(0, 1). Trained: alpha (theirs is called log alpha), one for each gate.
"""

from math import log

import torch
from torch import Tensor, nn

LIMITS = {  # by the names that a method's options have
    "alpha_init": (-100, 100),
    "concrete_lower": (-100, -0.01),  # l
    "concrete_upper": (1.01, 100),  # r
    "temperature": (0.01, 100),  # beta
}


class HardConcrete(nn.Module):
    """Gates of any shape. lower, upper: l < 0 and r > 1. temperature: beta > 0."""

    def __init__(
        self, shape: tuple[int, ...], alpha: float, lower: float, upper: float, temperature: float
    ) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full(shape, float(alpha)))
        self.lower, self.upper, self.temperature = lower, upper, temperature

    def forward(self, noisy: bool) -> Tensor:
        """z in the shape of alpha, with noise for training; with s = sigmoid(alpha) for use."""
        if noisy:
            s = ((torch.rand_like(self.alpha).logit() + self.alpha) / self.temperature).sigmoid()
        else:
            s = self.alpha.sigmoid()
        return (s * (self.upper - self.lower) + self.lower).clamp(0, 1)

    def chance(self) -> Tensor:
        """P(z > 0) = sigmoid(alpha - beta log(-l / r)), in the shape of alpha."""
        return (self.alpha - self.temperature * log(-self.lower / self.upper)).sigmoid()
