"""The one shape that all methods on a layer share."""

import torch.nn.functional as F
from torch import Tensor, nn


class NotMergeable(TypeError):
    """Raised by methods whose effect is not a new weight, with the reason."""


class Tuner(nn.Module):
    """What one method does to one layer: h = f(x; base).

    A tuner holds the learned tensors alone, under the names they have in an adapter file. It is
    given the frozen layer at each call and never owns it.

    why_apart: the reason where it can't be merged.
    """

    why_apart: str | None = None

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        """The adapted output for x (..., in): a tensor of shape (..., out)."""
        raise NotImplementedError

    def merged(self, weight: Tensor) -> Tensor:
        """The weight W' (out, in) whose plain product is the adapted output, from W (out, in).

        Raises NotMergeable where there is none.
        """
        raise NotMergeable(f"{type(self).__name__} has no merged weight")

    def merged_bias(self, bias: Tensor | None) -> Tensor | None:
        """The bias b' (out,) that goes with W', from b; None where there is none."""
        return bias

    def factors(self) -> tuple[Tensor, Tensor]:
        """A (r, in) and B (out, r) with W' = W + B A, where the update is such a product.

        Raises NotImplementedError where it isn't. Mixed batches and weighted sums stand on this.
        """
        raise NotImplementedError(f"{type(self).__name__} has no low-rank factors")

    def penalty(self) -> Tensor | None:
        """What the method adds to the loss for this layer, if anything."""
        return None

    def file_tensors(self) -> dict[str, Tensor]:
        """The learned tensors by their names in a file."""
        return {name: parameter.detach() for name, parameter in self.named_parameters()}


def plus_low_rank(base: nn.Module, x: Tensor, low: Tensor, up: Tensor, scale: float) -> Tensor:
    """base(x) + s U l, for x (..., in), l (..., r) and U (out, r), in the dtype of base(x).

    In one dtype a single product scales, and adds into what the base has just written: no s U l as
    wide as the output is written, read again for the scale, and once more for the sum.
    """
    alike = x.dtype == low.dtype == up.dtype and x.dim() > 1 and x.is_contiguous()
    if not alike or base._forward_hooks:  # a hook may keep base(x): it must stay as it is
        h = base(x)
        return (h + scale * F.linear(low, up)).to(h.dtype)
    h = base(x.flatten(0, -2))  # (positions, out), and no view: autograd copies what a view changes
    low = low.reshape(len(h), low.shape[-1])  # (positions, r), where r may be 0
    # The copy of U.T is small, and its gradient comes as l.T @ dh: far quicker than dh.T @ l.
    return h.addmm_(low, up.T.contiguous(), alpha=scale).view(*x.shape[:-1], -1)
