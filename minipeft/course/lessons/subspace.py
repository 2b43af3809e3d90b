"""Random-subspace training: a model's matrices move along a few fixed random directions.

    theta = theta_0 + P z,    P (D, d) fixed, z (d,) trained from zero

Li et al. (2018, section 2, arXiv 1804.08838) draw P with dense Gaussian columns. Here each row of P
has one entry, 1 or -1 at random, so that P takes a whole number and a sign for each weight: every
weight changes by one of the d numbers or its negative, and the columns are orthogonal.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from minipeft.course.lessons.recorded import Tuned, by_rate, mean_of, recorded_runs


class Subspace(nn.Module):
    """A model whose linear layers have W = W0 + sign * z[follows]; only `z` is trained.

    Args:
        base: is frozen. The weights of its linear layers move, those that LoRA's "all-linear"
            means: all but the output head's.
        d: how many numbers are trained, at least 1.
        seed: draws which number each weight follows, and its sign.

    Raises:
        ValueError: d is smaller than 1.
    """

    def __init__(self, base: nn.Module, d: int, seed: int = 0) -> None:
        super().__init__()
        if d < 1:
            raise ValueError(f"a subspace has at least 1 dimension, not d={d}")
        self.base = base.requires_grad_(False)
        self.z = nn.Parameter(torch.zeros(d))
        draws = torch.Generator().manual_seed(seed)
        self.follows: dict[str, Tensor] = {}  # (out, in), whole numbers below d
        self.signs: dict[str, Tensor] = {}  # (out, in), 1 or -1
        for path, layer in base.named_modules():
            if isinstance(layer, nn.Linear) and path != "lm_head":
                shape, name = layer.weight.shape, f"{path}.weight"
                self.follows[name] = torch.randint(d, shape, generator=draws)
                self.signs[name] = torch.randint(2, shape, generator=draws) * 2.0 - 1

    def changes(self) -> dict[str, Tensor]:
        """P z, matrix by matrix: {name: (out, in)}."""
        return {name: self.signs[name] * self.z[row] for name, row in self.follows.items()}

    @torch.no_grad()
    def size(self) -> float:
        """Mean over the matrices of ||W - W0|| / ||W0||."""
        frozen = dict(self.base.named_parameters())
        moved = [change.norm() / frozen[name].norm() for name, change in self.changes().items()]
        return float(sum(moved) / len(moved))

    def forward(self, input_ids: Tensor) -> Tensor:
        """The logits (batch, length, vocabulary) with the changed matrices."""
        frozen = dict(self.base.named_parameters())
        moved = {name: frozen[name] + change for name, change in self.changes().items()}
        return functional_call(self.base, moved, (input_ids,))


def by_dimension() -> dict[int, list[Tuned]]:
    """What `scripts/sweep_subspace.py` found: for each d its learning rates, ascending."""
    return by_rate(recorded_runs("subspace"), "d", mean_of)
