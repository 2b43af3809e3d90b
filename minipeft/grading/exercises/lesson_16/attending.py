"""Task 2: attention as a ViT has it, every token to every token."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .tokens import normal


def cases(generator: np.random.Generator) -> Cases:
    """One head, two and four; scores large enough that a scale is seen."""
    found = []
    for tokens, d, heads in [(5, 6, 1), (4, 8, 2), (7, 12, 4)]:
        matrices = [normal(generator, d, d) for _ in range(3)]
        found.append([normal(generator, tokens, d), *matrices, heads])
    return found


def softmax(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Positive, with a sum of one along the axis."""
    powers = np.exp(scores - scores.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def attention(
    x,
    Wq,
    Wk,
    Wv,
    heads,
    scale: Callable = lambda d, heads: np.sqrt(d / heads),
    axis: int = -1,
    causal: bool = False,
    split: str = "n (h e)",
):
    """softmax(q k^T / sqrt(d / heads)) v of each head, the heads side by side: (tokens, d)."""
    tokens, d = x.shape
    shape = (tokens, heads, d // heads) if split == "n (h e)" else (tokens, d // heads, heads)
    order = (1, 0, 2) if split == "n (h e)" else (2, 0, 1)
    x = np.asarray(x, np.float64)
    q, k, v = ((x @ W.T).reshape(shape).transpose(order) for W in (Wq, Wk, Wv))
    scores = q @ k.transpose(0, 2, 1) / scale(d, heads)  # (heads, tokens, tokens)
    if causal:
        scores = np.where(np.tri(tokens, dtype=bool), scores, -1e30)
    h = softmax(scores, axis) @ v  # (heads, tokens, d / heads)
    return h.transpose(np.argsort(order)).reshape(tokens, d)


ATTENTION = Task(
    name="attention",
    title="2. Attention",
    points=3,
    cases=cases,
    answer=lambda x, Wq, Wk, Wv, heads: attention(x, Wq, Wk, Wv, heads),
    parts=by_case("one head", "two heads", "four heads"),
    misconceptions=[
        Misconception(
            partial(attention, causal=True),
            "You mask what comes later, as a language model does. An image has no later: every "
            "patch sees every other one.",
        ),
        Misconception(
            partial(attention, axis=-2),
            "Your softmax runs over the queries. Each query's scores over all keys sum to one: "
            "the last axis.",
        ),
        Misconception(
            partial(attention, scale=lambda d, heads: np.sqrt(d)),
            "You divide by the root of d. The scores of a head are sums of d / heads products: "
            "divide by the root of that.",
        ),
        Misconception(
            partial(attention, scale=lambda d, heads: 1.0),
            "The scores are not divided by the root of the head's width.",
        ),
        Misconception(
            partial(attention, split="n (e h)"),
            "You deal the columns out to the heads one by one. A head has d / heads columns that "
            "lie side by side.",
        ),
        Misconception(
            lambda x, Wq, Wk, Wv, heads: attention(x, Wq, Wk, Wv, 1),
            "You compute one head. Each of the heads has its own softmax, on its own columns.",
        ),
    ],
    why="A token asks every token, so a head makes N x N scores. Nothing here depends on the order "
    "of the tokens: permute the rows of x, and the rows of the answer are permuted.",
)
