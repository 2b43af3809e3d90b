"""Task 2a: one head of causal attention with a prefix, and the share that the prefix takes.

Prefix tuning, arXiv 2101.00190, section 4.2; the share is that of He et al. 2022, arXiv 2110.04366,
section 3.1.
"""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .prompt import normal


def attend_cases(generator: np.random.Generator) -> Cases:
    """A prefix shorter than the text, a longer one, and one whose values are large."""
    found = []
    for n, length, d, size in [(2, 5, 8, 1), (7, 4, 6, 1), (4, 6, 16, 5)]:
        text = [normal(generator, length, d) for _ in range(3)]
        found.append([*text, normal(generator, n, d), size * normal(generator, n, d)])
    return found


def weights_of(q, K, P_k, scale=True, offset=None, causal=True) -> np.ndarray:
    """(length, n + length): the softmax over prefix and text; mistakes differ in scale and mask.

    offset: how many keys more than its own place a query sees; n where all is right.
    """
    keys = np.concatenate([P_k, K]).astype(np.float64)
    scores = q.astype(np.float64) @ keys.T
    if scale:
        scores = scores / np.sqrt(q.shape[1])
    if causal:
        seen = np.tri(len(q), len(keys), len(P_k) if offset is None else offset, dtype=bool)
        scores = np.where(seen, scores, -np.inf)
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def attend(q, K, V, P_k, P_v, **options) -> dict[str, np.ndarray]:
    """The share on the prefix (length,) and the output (length, d)."""
    weights = weights_of(q, K, P_k, **options)
    share = weights[:, : len(P_k)].sum(axis=1)
    return {"share": share, "out": weights @ np.concatenate([P_v, V])}


def apart(q, K, V, P_k, P_v) -> tuple[np.ndarray, np.ndarray]:
    """Attention to the prefix alone and to the text alone, each with a softmax of its own."""
    text = weights_of(q, K, P_k[:0]) @ V
    to_prefix = weights_of(q, P_k, P_k[:0], causal=False) @ P_v
    return to_prefix, text


def added(q, K, V, P_k, P_v):
    """Two softmaxes whose results are added."""
    return {"share": attend(q, K, V, P_k, P_v)["share"], "out": sum(apart(q, K, V, P_k, P_v))}


def by_count(q, K, V, P_k, P_v):
    """Two softmaxes, weighed by how many keys each has."""
    n = len(P_k)
    share = n / (n + np.arange(1, len(q) + 1))
    to_prefix, text = apart(q, K, V, P_k, P_v)
    return {"share": share, "out": share[:, None] * to_prefix + (1 - share[:, None]) * text}


def with_share(change, q, K, V, P_k, P_v):
    """The right output with another share."""
    right = attend(q, K, V, P_k, P_v)
    return right | {"share": change(right["share"], len(P_k))}


ATTEND = Task(
    name="attend",
    title="2a. Attention with a prefix",
    points=4,
    cases=attend_cases,
    answer=attend,
    parts=by_case("a short prefix", "a long prefix", "large values"),
    misconceptions=[
        Misconception(
            partial(attend, offset=0),
            "The causal mask has slipped: token i of the text has key n + i here. As it is, the "
            "first tokens can't even see themselves.",
        ),
        Misconception(
            partial(attend, causal=False),
            "The text looks into the future. Token i may see the whole prefix and the text up to "
            "itself.",
        ),
        Misconception(
            partial(attend, scale=False),
            "The scores are not divided by the root of the head's width.",
        ),
        Misconception(
            added,
            "You ran two softmaxes and added the results. One softmax runs over prefix and text "
            "together: what the prefix takes, the text loses.",
        ),
        Misconception(
            by_count,
            "You weighed prefix and text by how many keys they have. The share depends on the "
            "query: it is what the one softmax gives to the prefix.",
        ),
        Misconception(
            partial(with_share, lambda share, n: 1 - share),
            "The output is right; the share is that of the text. Asked for is the prefix's.",
        ),
        Misconception(
            partial(with_share, lambda share, n: share / n),
            "The output is right; the share is a mean over the virtual tokens. Take their sum.",
        ),
    ],
    why="One softmax over prefix and text makes the output (1 - share) times the text's own "
    "attention plus share times the prefix's. The prefix takes attention away from all of the "
    "text alike.",
)
