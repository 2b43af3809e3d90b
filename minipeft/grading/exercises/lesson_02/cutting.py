"""Task 1: the best copy of rank r, and its error, which the singular values alone tell.

C. Eckart and G. Young 1936, in the Frobenius norm; L. Mirsky 1960, in the spectral norm as well.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case, by_entry


def of_spectrum(generator: np.random.Generator, d_out: int, d_in: int, values) -> np.ndarray:
    """A matrix with these singular values and random directions."""
    U, V = (np.linalg.qr(generator.normal(size=(d, len(values))))[0] for d in (d_out, d_in))
    return (U * values) @ V.T


def falling(generator: np.random.Generator, n: int) -> np.ndarray:
    """n singular values, each clearly smaller than the one before; none is 1."""
    return 7 * np.cumprod(generator.uniform(0.6, 0.85, n))


def copy_cases(generator: np.random.Generator) -> Cases:
    """A tall, a wide and a square matrix."""
    return [
        [of_spectrum(generator, out, wide, falling(generator, min(out, wide))).astype("f4"), r]
        for out, wide, r in [(9, 6, 2), (6, 9, 3), (7, 7, 4)]
    ]


def best_copy(matrix, r, power=1, more=0, change: Callable = lambda *parts: parts):
    """The sum of the r strongest components; the mistakes weigh or choose others."""
    U, S, V = change(*np.linalg.svd(matrix, full_matrices=False))
    r = r + more
    return (U[:, :r] * S[:r] ** power) @ V[:r]


def first_rows(matrix, r):
    """The first r rows of the matrix, and zeros."""
    return matrix * (np.arange(len(matrix)) < r)[:, None]


COPY = Task(
    name="best_copy",
    title="1a. The best copy",
    points=2,
    cases=copy_cases,
    answer=best_copy,
    tolerance=1e-3,
    parts=by_case("a tall matrix", "a wide matrix", "a square matrix"),
    misconceptions=[
        Misconception(
            partial(best_copy, change=lambda U, S, V: (U[:, ::-1], S[::-1], V[::-1])),
            "You kept the weakest components. svd gives the singular values in falling order, so "
            "the first r are the ones to keep.",
        ),
        Misconception(
            partial(best_copy, change=lambda U, S, V: (U, S, V.T)),
            "You took columns of what torch.linalg.svd calls Vh. Its rows are the directions of "
            "the input: keep the first r rows.",
        ),
        Misconception(
            partial(best_copy, power=0),
            "The singular values are missing: without them every component has strength 1.",
        ),
        Misconception(
            partial(best_copy, power=2),
            "The singular values are in the product twice. Multiply one factor by them, or both by "
            "their square roots.",
        ),
        Misconception(
            partial(best_copy, power=0.5),
            "The components have the roots of their strengths. Roots are right only if both "
            "factors get them.",
        ),
        Misconception(
            partial(best_copy, more=1),
            "Your copy has r + 1 components. `[:r]` are r of them already.",
        ),
        Misconception(
            first_rows,
            "You kept r rows of the matrix. Such a copy has rank r, too, but the best directions "
            "are those of the SVD.",
        ),
    ],
    why="The r strongest components are the closest matrix of rank r that there is (Eckart and "
    "Young): what is dropped is as weak as it can be.",
)


def error_cases(generator: np.random.Generator) -> Cases:
    """Nothing kept, a little kept, and nearly all kept."""
    return [[falling(generator, n).astype("f4"), r] for n, r in [(5, 0), (9, 3), (8, 7)]]


def copy_errors(S, r, power=2, root=0.5, start=0, whole=lambda S: S):
    """Both relative errors of the best copy; the mistakes add, root or begin otherwise."""
    S = np.asarray(S, dtype=np.float64)
    dropped = S[r + start :] if r + start >= 0 else S
    share = (dropped**power).sum() / (whole(S) ** power).sum()
    return {"frobenius": float(share**root), "spectral": float(dropped.max(initial=0) / S[0])}


def kept_share(S, r):
    """What is kept, in place of what is missing."""
    S = np.asarray(S, dtype=np.float64)
    kept = np.linalg.norm(S[:r]) / np.linalg.norm(S)
    return {"frobenius": float(kept), "spectral": copy_errors(S, r)["spectral"]}


def all_dropped(S, r):
    """The spectral norm as if the dropped values added up."""
    S = np.asarray(S, dtype=np.float64)
    return copy_errors(S, r) | {"spectral": float(S[r:].sum() / S[0])}


def not_relative(S, r):
    """The norms of the missing part themselves."""
    S = np.asarray(S, dtype=np.float64)
    return {"frobenius": float(np.linalg.norm(S[r:])), "spectral": float(S[r])}


ERRORS = Task(
    name="copy_errors",
    title="1b. Its error, before it is made",
    points=2,
    cases=error_cases,
    answer=copy_errors,
    tolerance=1e-3,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(copy_errors, power=1, root=1),
            "You added the singular values as they are. The Frobenius norm adds their squares and "
            "takes the root.",
        ),
        Misconception(
            partial(copy_errors, root=1),
            "This is the missing share of the energy. The Frobenius error is a norm: take the "
            "root of that share.",
        ),
        Misconception(
            kept_share,
            "Your Frobenius entry is the part that is kept. The error is the part that is "
            "missing: `S[r:]`.",
        ),
        Misconception(
            partial(copy_errors, start=-1),
            "You count one component too many as missing. Python counts from 0: `S[r:]` begins "
            "with the strongest one that was dropped.",
        ),
        Misconception(
            all_dropped,
            "You added the dropped values for the spectral norm. It is the largest singular value "
            "of the missing part, and no sum.",
        ),
        Misconception(
            not_relative,
            "These are the norms of the missing part. Divide each by the same norm of the whole "
            "matrix.",
        ),
    ],
    why="The missing part has the dropped singular values as its own. Its Frobenius norm is the "
    "root of their summed squares, its spectral norm the largest: no copy has to be made.",
)
