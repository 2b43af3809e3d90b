"""The one shape that all methods on a linear layer share."""

import torch
from torch import Tensor, nn


class NotMergeable(TypeError):
    """Raised by methods whose effect is not a new weight, with the reason."""


class Tuner(nn.Module):
    """What one method does to one linear layer: h = f(x; base).

    A tuner holds the learned tensors alone, under the names they have in an adapter file. It is
    given the frozen layer at each call and never owns it.
    """

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        """The adapted output for x (..., in): a tensor of shape (..., out)."""
        raise NotImplementedError

    def merged(self, weight: Tensor) -> Tensor:
        """The weight W' (out, in) whose plain product is the adapted output, from W (out, in).

        Raises NotMergeable where there is none.
        """
        raise NotMergeable(f"{type(self).__name__} has no merged weight")


def adapter_dtype(weight: Tensor) -> torch.dtype:
    """Adapters are kept in 32 bits at least: small steps would be lost in 16."""
    if not weight.dtype.is_floating_point:
        return torch.float32  # a packed 4-bit weight
    return torch.promote_types(weight.dtype, torch.float32)
