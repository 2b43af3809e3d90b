"""From logits to the next token: temperature, top-k and top-p.

    p = softmax(filter(logits / temperature))

top-k keeps the k likeliest tokens; top-p then the fewest likely ones that hold at least the share
p of what is left. Order and borders are those of transformers.

Sources: Fan et al. 2018, "Hierarchical neural story generation" (section 5.4, top-k); Holtzman et
al. 2020, "The curious case of neural text degeneration" (section 3.1, top-p).
"""

from numbers import Integral, Real

import torch
from torch import Tensor


def probabilities(
    logits: Tensor, temperature: float, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """What the next token is drawn from: (batch, vocab) -> (batch, vocab) in float32."""
    scores = logits.float() / temperature
    if top_k is not None:
        least = scores.topk(min(top_k, scores.shape[-1])).values[:, -1:]  # (batch, 1)
        scores = scores.masked_fill(scores < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ascending, token = scores.sort(dim=-1)
        unlikely = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
        unlikely[:, -1] = False  # the likeliest one always stays
        scores = scores.masked_fill(unlikely.scatter(1, token, unlikely), -torch.inf)
    return scores.softmax(dim=-1)


def pick(
    logits: Tensor,
    streams: list[torch.Generator],
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
) -> list[int]:
    """One token id per row of (batch, vocab): the likeliest at temperature 0, else a draw.

    Each row draws from a random stream of its own, so its neighbours don't change it.
    """
    if temperature == 0:
        return logits.argmax(dim=-1).tolist()
    rows = probabilities(logits, temperature, top_k, top_p)
    return [
        int(torch.multinomial(row, 1, generator=stream))
        for row, stream in zip(rows, streams, strict=True)
    ]


def check_sampling(temperature: object, top_k: object, top_p: object) -> None:
    """Raise ValueError for what no token can be drawn with."""
    if not _is_number(temperature, Real) or not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 or more, but it is {temperature!r}")
    if top_k is not None and (not _is_number(top_k, Integral) or top_k < 1):
        raise ValueError(f"top_k must be a whole number from 1 on, or None, but it is {top_k!r}")
    if top_p is not None and (not _is_number(top_p, Real) or not 0 < top_p <= 1):
        raise ValueError(f"top_p must be above 0 and at most 1, or None, but it is {top_p!r}")


def _is_number(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
