"""Task 1b: the rows of a prefix as keys and values of a cache.

Prefix tuning, arXiv 2101.00190, section 4.2; the layout of the file is peft's.
"""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .prompt import normal

UNLIKE, ALIKE = "heads unlike tokens", "as many heads as tokens"


def cache_cases(generator: np.random.Generator) -> Cases:
    """(n, layers, heads, head_dim): twice with heads unlike tokens, twice alike."""
    found = []
    for n, layers, heads, head_dim in [(5, 3, 2, 4), (3, 4, 3, 6), (2, 3, 4, 5), (4, 3, 4, 2)]:
        found.append([normal(generator, n, layers * 2 * heads * head_dim), layers, heads])
    return found


def sizes(P: np.ndarray, layers: int, heads: int) -> tuple[int, int]:
    """(n, head_dim)."""
    return len(P), P.shape[1] // (layers * 2 * heads)


def as_cache(P, layers, heads, order=(1, 2, 3, 0, 4)):
    """(n, layers 2 heads head_dim) -> (layers, 2, heads, n, head_dim)."""
    n, head_dim = sizes(P, layers, heads)
    return P.reshape(n, layers, 2, heads, head_dim).transpose(order)


def viewed(P, layers, heads):
    """The right shape, the numbers in the order of memory."""
    n, head_dim = sizes(P, layers, heads)
    return P.reshape(layers, 2, heads, n, head_dim)


def keys_first(P, layers, heads):
    """A row read as all keys, then all values."""
    n, head_dim = sizes(P, layers, heads)
    return P.reshape(n, 2, layers, heads, head_dim).transpose(2, 1, 3, 0, 4)


def heads_innermost(P, layers, heads):
    """The last axis split as (head_dim, heads)."""
    n, head_dim = sizes(P, layers, heads)
    return P.reshape(n, layers, 2, head_dim, heads).transpose(1, 2, 4, 0, 3)


AS_CACHE = Task(
    name="as_cache",
    title="1b. A prefix as a cache",
    points=3,
    cases=cache_cases,
    answer=as_cache,
    parts=by_case(UNLIKE, ALIKE, UNLIKE, ALIKE),
    misconceptions=[
        Misconception(
            viewed,
            "The shape is right and the numbers are not: `view` alone never moves a number. Split "
            "the row first, then `permute` the axes.",
        ),
        Misconception(
            partial(as_cache, order=(1, 2, 0, 3, 4)),
            "Your axes are (layers, 2, n, heads, head_dim). A cache wants the heads before the "
            "tokens; with as many heads as tokens nothing complains.",
        ),
        Misconception(
            keys_first,
            "You read a row as all keys, then all values. It holds key and value of layer 0, then "
            "of layer 1, and so on: (layers, 2), not (2, layers).",
        ),
        Misconception(
            heads_innermost,
            "You split a key as (head_dim, heads). One head's numbers lie side by side: (heads, "
            "head_dim).",
        ),
        Misconception(
            lambda P, layers, heads: as_cache(P, layers, heads)[:, ::-1],
            "Keys and values have changed places: the key comes first.",
        ),
        Misconception(
            partial(as_cache, order=(2, 1, 3, 0, 4)),
            "Your first axis is key or value. Asked for are the layers first, then the pair.",
        ),
        Misconception(
            partial(as_cache, order=(0, 1, 2, 3, 4)),
            "You split the row rightly, and the tokens are still the first axis. They belong "
            "between heads and head_dim.",
        ),
    ],
    why="A cache keeps (heads, length, head_dim) for each layer, since attention multiplies over "
    "the last axis and takes its sum over the tokens. A prefix is a cache that was trained.",
)
