"""Task 1: intruder dimensions, leading singular vectors that the base did not have.

R. Shuttleworth and others 2024, arXiv 2410.21228, algorithm 1.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .planted import told_apart

NAMES = ("a square matrix", "a wide matrix", "a tall matrix")
SHAPES = [(8, 8, 5, 0.6), (9, 12, 6, 0.9), (13, 8, 5, 0.7)]  # d_out, d_in, leading, threshold
SPREAD = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
TURNED = np.array([[0.85, -0.5268], [0.5268, 0.85]])  # a rotation: one cosine is 0.85


def orthogonal(generator: np.random.Generator, n: int, m: int) -> np.ndarray:
    """m orthonormal columns of length n."""
    return np.linalg.qr(generator.normal(size=(n, m)))[0]


def turned(generator: np.random.Generator, n: int) -> np.ndarray:
    """An orthogonal matrix: four columns are spread over four, two are turned, others kept.

    Rows and columns are in a random order, and half of the columns have their sign changed.
    """
    Q = np.eye(n)
    Q[:4, :4], Q[4:6, 4:6] = SPREAD, TURNED
    signs = generator.choice([-1, 1], n)
    return (Q * signs)[generator.permutation(n)][:, generator.permutation(n)]


def pairs(generator: np.random.Generator) -> Cases:
    """W0 and W of three shapes: the left vectors of W are known mixtures of W0's."""
    found = []
    for d_out, d_in, leading, threshold in SHAPES:
        n = min(d_out, d_in)
        U, V = orthogonal(generator, d_out, n), orthogonal(generator, d_in, n)
        S0, S = (5 * np.cumprod(generator.uniform(0.65, 0.85, n)) for _ in range(2))
        W0 = (U * S0) @ V.T
        W = (U @ turned(generator, n) * S) @ (V @ turned(generator, n)).T
        found.append([W0.astype("f4"), W.astype("f4"), leading, threshold])
    return found


def left(matrix: np.ndarray) -> np.ndarray:
    """The left singular vectors, one a column."""
    return np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)[0]


def intruders(
    W0,
    W,
    leading,
    threshold,
    vectors: Callable = left,
    size: Callable = np.abs,
    among: Callable = lambda leading: slice(None),
    nearest: Callable = lambda cosines: cosines.max(axis=1),
):
    """How many of W's leading left vectors are near none of W0's; the mistakes compare less."""
    U0, U = vectors(W0)[:, among(leading)], vectors(W)[:, :leading]
    return int((nearest(size(U.T @ U0)) < threshold).sum())


def complement(W0, W, leading, threshold):
    """The vectors that are no intruders."""
    return leading - intruders(W0, W, leading, threshold)


WRONG = [
    (
        partial(intruders, size=lambda cosines: cosines),
        "You kept the signs. A singular vector and its negative are the same one: svd may give "
        "either, so take the absolute cosine.",
    ),
    (
        partial(intruders, among=slice, nearest=np.diag),
        "You compared each vector with the one at the same place. A vector that has only changed "
        "places is no intruder: compare with all of W0's.",
    ),
    (
        partial(intruders, among=slice),
        "You compared with the leading vectors of W0 alone. A vector that rose from further down "
        "was in W0, too.",
    ),
    (
        partial(intruders, vectors=lambda matrix: left(matrix.T)),
        "These are the right singular vectors. Asked for are the left ones, the columns of U.",
    ),
    (
        complement,
        "You counted the vectors that W0 has as well. Intruders are those below the threshold.",
    ),
    (
        partial(intruders, nearest=lambda cosines: cosines.mean(axis=1)),
        "You took the mean of the cosines. One near neighbour in W0 is enough: take the largest.",
    ),
    (
        lambda W0, W, leading, threshold: intruders(W0, W, None, threshold),
        "You counted among all singular vectors of W. Asked for are the `leading` first ones.",
    ),
    (
        lambda W0, W, leading, threshold: intruders(W0, W - W0, leading, threshold),
        "You took the singular vectors of the update W - W0. Intruders are in W itself: a small "
        "update does not bring its directions among the leading ones.",
    ),
]


def cases(generator: np.random.Generator) -> Cases:
    """Pairs with some intruders each, on which every mistake gives other counts."""

    def with_some(generator: np.random.Generator) -> Cases:
        while True:
            drawn = pairs(generator)
            if all(0 < intruders(*case) < case[2] for case in drawn):
                return drawn

    return told_apart(generator, with_some, [intruders, *(answer for answer, _ in WRONG)])


INTRUDERS = Task(
    name="intruders",
    title="1. Intruders",
    points=3,
    cases=cases,
    answer=intruders,
    parts=by_case(*NAMES),
    trivial=[lambda *given, n=n: n for n in range(7)],
    misconceptions=[Misconception(answer, message) for answer, message in WRONG],
    why="The singular vectors of W0 are all directions that the base writes to, in order of their "
    "strength. A leading vector of W that is near none of them mixes many of them or is new, and "
    "the sign and the place say nothing of that.",
)
