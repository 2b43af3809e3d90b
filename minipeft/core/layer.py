"""Tuner: what every method on a layer has in common, h = f(x; base)."""

from torch import Tensor, nn


class NotMergeable(TypeError):
    """Raised by methods whose effect is not a new weight, with the reason."""


class Tuner(nn.Module):
    """What one method does to one layer: h = f(x; base).

    A tuner holds the learned tensors alone, under the names that they have in an adapter file. Its
    `forward` gets the frozen layer as an argument: a tuner never owns the layer.

    why_apart: the reason why the method has no W', or None.
    """

    why_apart: str | None = None

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        """The adapted output for x (..., in): a tensor of shape (..., out)."""
        raise NotImplementedError

    def low_rank(self) -> tuple[Tensor, Tensor, float]:
        """A (r, in), B (out, r) and s with W' = W + s B A, where the update is such a product.

        Raises NotMergeable where it isn't. Merging, mixed batches and weighted sums read this.
        """
        raise NotMergeable(f"{type(self).__name__} has no low-rank factors")

    @property
    def is_low_rank(self) -> bool:
        """Whether the method's whole effect is W' = W + s B A."""
        return type(self).low_rank is not Tuner.low_rank

    def factors(self) -> tuple[Tensor, Tensor]:
        """A (r, in) and B (out, r) with W' = W + B A: the scale is in B. Raises NotMergeable."""
        A, B, s = self.low_rank()
        return A, s * B

    def merged(self, weight: Tensor) -> Tensor:
        """The weight W' (out, in) whose plain product is the adapted output, from W (out, in).

        Raises NotMergeable where there is none.
        """
        A, B = self.factors()
        return weight + (B @ A).to(weight)

    def merged_bias(self, bias: Tensor | None) -> Tensor | None:
        """The bias b' (out,) that goes with W', from b (out,) or None."""
        return bias

    def penalty(self) -> Tensor | None:
        """What the method adds to the loss for this layer, if anything."""
        return None

    def file_tensors(self) -> dict[str, Tensor]:
        """The learned tensors by their names in a file."""
        return {name: parameter.detach() for name, parameter in self.named_parameters()}
