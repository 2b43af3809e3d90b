"""Task 1: one layer, a batch whose samples ask for different adapters.

Chen et al. 2023, "Punica", arXiv 2310.18547; the interface is that of peft's `adapter_names`.
"""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case

PLAIN, WITH_BASE = "requests for adapters alone", "requests for the bare base among them"


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers, in float32 as torch has them."""
    return generator.normal(size=shape).astype(np.float32)


def wanted(generator: np.random.Generator, batch: int, n: int, bare: bool) -> np.ndarray:
    """An adapter for each sample, in no order that could be guessed; with `bare` some -1."""
    while True:
        which = generator.integers(-1 if bare else 0, n, batch)
        enough = len(set(which[which >= 0])) > 1 and (which == -1).any() == bare
        if enough and which[0] >= 0 and (which != np.arange(batch) % n).sum() > 1:
            return which


def cases(generator: np.random.Generator) -> Cases:
    """Square and other layers, with and without requests for the base."""
    found = []
    for batch, n, d_out, d_in, bare in [
        (5, 3, 6, 6, False), (6, 4, 5, 8, False), (6, 3, 7, 4, True), (7, 4, 6, 6, True)
    ]:  # fmt: skip
        A, B = normal(generator, n, 2, d_in), normal(generator, n, d_out, 2)
        scale = generator.choice([0.5, 2.0, 3.0, 4.0], n, replace=False).astype(np.float32)
        x, W0 = normal(generator, batch, 3, d_in), normal(generator, d_out, d_in)
        found.append([x, W0, A, B, scale, wanted(generator, batch, n, bare)])
    return found


def mixed(x, W0, A, B, scale, which, choose=lambda which, n: which, bare=-1):
    """h_i = W0 x_i + s B A x_i, each with its own pair; the mistakes choose otherwise.

    bare: the number that asks for no adapter; None where the mistake knows of none.
    """
    h, which = x @ W0.T, choose(np.asarray(which), len(A))
    for i, a in enumerate(which):
        if a != bare:
            h[i] += scale[a] * (x[i] @ A[a].T @ B[a].T)
    return h


def all_of_them(x, W0, A, B, scale, which):
    """Every sample through the sum of all adapters."""
    update = np.einsum("n,nor,nri->oi", scale, B, A)
    return x @ (W0 + update).T


def no_scale(x, W0, A, B, scale, which):
    """B A x as it is."""
    return mixed(x, W0, A, B, np.ones_like(scale), which)


def no_base(x, W0, A, B, scale, which):
    """The updates alone."""
    return mixed(x, 0 * W0, A, B, scale, which)


def rows_of_the_batch(which: np.ndarray, n: int) -> np.ndarray:
    """Sample i takes adapter i, as if the list were in order."""
    return np.where(which == -1, -1, np.arange(len(which)) % n)


MIXED = Task(
    name="mixed_batch",
    title="1. One batch, many adapters",
    points=3,
    cases=cases,
    answer=mixed,
    parts=by_case(PLAIN, PLAIN, WITH_BASE, WITH_BASE),
    misconceptions=[
        Misconception(
            partial(mixed, bare=None),
            "A sample with -1 goes through the last adapter here: in Python -1 is the last index. "
            "It asks for the bare base, so nothing may be added to it.",
        ),
        Misconception(
            no_scale,
            "The scale is missing. Each adapter has its own: s B A x.",
        ),
        Misconception(
            lambda x, W0, A, B, scale, which: mixed(x, W0, A, B, scale[0] + 0 * scale, which),
            "You use one adapter's scale for all. `scale` has one number for each adapter.",
        ),
        Misconception(
            partial(mixed, choose=rows_of_the_batch),
            "Sample i went through adapter i. Which one it asks for stands in which[i].",
        ),
        Misconception(
            partial(mixed, choose=lambda which, n: np.full_like(which, which[0])),
            "The whole batch went through the first sample's adapter. Each sample has its own.",
        ),
        Misconception(
            all_of_them,
            "Every sample went through all adapters at once. A sample goes through one of them.",
        ),
        Misconception(
            no_base,
            "These are the updates alone. The base's answer, x W0^T, belongs to every sample.",
        ),
    ],
    why="Samples never meet in a linear layer, so each may have a pair of its own; the large "
    "product with W0 is one for all, and that is what a mixed batch saves.",
)
