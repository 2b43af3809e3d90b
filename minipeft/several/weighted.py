"""A new adapter from a weighted sum of others: dW = sum_i w_i s_i B_i A_i, exactly or nearly.

cat      A and B of all stand side by side: exact, the rank is the sum of the ranks.
svd      the best approximation of the sum at one rank (Eckart & Young 1936).
linear   A = sum sqrt(w_i s_i) A_i, B = sum sqrt(w_i s_i) B_i: cheap, but the product also holds
         B_i A_j of different adapters, which nobody asked for.
The names and conventions are peft's.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minipeft.core.adapter import Adapter
from minipeft.core.config import PeftConfig
from minipeft.core.errors import check_choice, check_number
from minipeft.core.layer import Tuner

COMBINATIONS = ["svd", "linear", "cat"]


def weighted_sum(
    adapters: dict[str, Adapter],
    weights: list[float],
    combination_type: str = "svd",
    svd_rank: int | None = None,
) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config and the tensors of the combined adapter, as a file would hold them.

    Raises ValueError for adapters that are more than low-rank A and B, for numbers of weights and
    adapters that differ, and under "linear" for ranks that differ.
    """
    check_choice("combination_type", combination_type, COMBINATIONS)
    if svd_rank is not None and (combination_type != "svd" or svd_rank < 1):
        raise ValueError(f"svd_rank={svd_rank!r} goes with 'svd', and is 1 or more")
    if not adapters or len(weights) != len(adapters):
        raise ValueError(f"{len(weights)} weights for {len(adapters)} adapters: give one for each")
    for weight in weights:
        check_number("weights", weight)
    for name, adapter in adapters.items():
        check_low_rank(name, adapter)
    ranks = [max(len(t.low_rank()[0]) for t in a.tuners.values()) for a in adapters.values()]
    r = svd_rank or (sum(ranks) if combination_type == "cat" else max(ranks))
    pairs = list(zip(weights, adapters.values(), strict=True))
    factors = {}
    for path in dict.fromkeys(path for _, adapter in pairs for path in adapter.layers):
        weighed = [(w, a.tuners[path]) for w, a in pairs if path in a.layers]
        factors[path] = combined(weighed, combination_type, r)
    return next(iter(adapters.values())).config.from_factors(factors)


def check_low_rank(name: str, adapter: Adapter) -> None:
    """Raise ValueError unless all that the adapter holds is A and B for some layers."""
    if not (adapter.is_low_rank and adapter.config.is_plain_low_rank):
        raise ValueError(
            f"adapter {name!r} ({adapter.config.peft_type}) holds more than low-rank A and B, "
            "which are all that a weighted sum is made of"
        )


@torch.no_grad()
def combined(
    weighed: list[tuple[float, Tuner]], combination_type: str, r: int
) -> tuple[Tensor, Tensor]:
    """A (r, in) and B (out, r) of one layer."""
    As, Bs, own = zip(*(tuner.low_rank() for _, tuner in weighed), strict=True)
    scales = [weight * s for (weight, _), s in zip(weighed, own, strict=True)]
    if combination_type == "linear":
        if len({len(A) for A in As}) > 1:
            ranks = [len(A) for A in As]
            raise ValueError(f"combination_type='linear' needs equal ranks, not {ranks}; use 'svd'")
        roots = [math.sqrt(abs(scale)) for scale in scales]
        signed = [math.copysign(root, scale) for root, scale in zip(roots, scales, strict=True)]
        A = sum(root * A for root, A in zip(signed, As, strict=True))
        B = sum(root * B for root, B in zip(roots, Bs, strict=True))
    else:
        A = torch.cat([scale * A for scale, A in zip(scales, As, strict=True)])  # (ranks, in)
        B = torch.cat(Bs, dim=1)
    if combination_type == "svd":
        U, S, V = torch.linalg.svd(B @ A, full_matrices=False)
        A, B = V[:r], U[:, :r] * S[:r]
    missing = r - len(A)  # in a layer that some adapters leave alone
    return F.pad(A, (0, 0, 0, missing)), F.pad(B, (0, missing))
