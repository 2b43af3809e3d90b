"""Magnitude and direction of a weight's rows, and how far training moves each.

Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", section 3.2: with m the norms and
V / ||V|| the directions, from W0 to W

    dM = mean over rows of |m - m0|            dD = mean over rows of 1 - cos(row of W, row of W0)

The paper stores a weight as (in, out) and says columns; a weight here has one row for each output.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minipeft import PeftModel
from minipeft.course.lessons.merging import layers_of, matrices
from minipeft.methods.dora import row_norms


class Moved(NamedTuple):
    """How far a weight moved: dM in the weight's own units, dD between 0 and 2."""

    magnitude: float
    direction: float


@torch.no_grad()
def moved(W0: Tensor, W: Tensor) -> Moved:
    """dM and dD from W0 to W, both (out, in). Raises ValueError where the shapes differ."""
    if W0.shape != W.shape:
        raise ValueError(f"W0 is {tuple(W0.shape)} and W is {tuple(W.shape)}; compare one layer")
    W0, W = W0.double(), W.double()
    magnitude = (W.norm(dim=1) - W0.norm(dim=1)).abs().mean()
    return Moved(magnitude.item(), (1 - F.cosine_similarity(W, W0, dim=1)).mean().item())


def correlation(points: Sequence[Moved]) -> float:
    """Pearson's correlation of dM and dD over these points, at least three."""
    if len(points) < 3:
        raise ValueError(
            f"{len(points)} points have no correlation to speak of; give three or more"
        )
    return torch.corrcoef(torch.tensor(points, dtype=torch.float64).T)[0, 1].item()


@torch.no_grad()
def weights_in_force(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weight (out, in) that each linear layer but the head acts by.

    model: the base, or a PeftModel on all of its linear layers: then the merged weight of each.
        Nothing is merged for this.
    """
    if not isinstance(model, PeftModel):
        return matrices(model)
    return {
        path: layer.tuner.merged(layer.base_layer.weight).detach().clone()
        for path, layer in layers_of(model).items()
    }


def moved_by_layer(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Moved]:
    """dM and dD of each layer by its path."""
    return {path: moved(before[path], after[path]) for path in before}


def recomposed(W0: Tensor, W: Tensor, magnitude: float, direction: float) -> Tensor:
    """A weight (out, in) between W0 and W, with two dials: 0 is W0's, 1 is W's.

    Row j is as long as m0 + magnitude (m - m0) says, and points where
    (1 - direction) (row of W0) / m0 + direction (row of W) / m points. A row of zeros stays one.
    """
    m0, m = row_norms(W0), row_norms(W)
    V = (1 - direction) * (W0.T / m0).T + direction * (W.T / m).T
    return ((m0 + magnitude * (m - m0)) / row_norms(V)).unsqueeze(1) * V
