"""Task 2: any update as a LoRA, by truncated SVD, and the rank that an error asks for.

Eckart and Young 1936: no matrix of rank r is closer than the first r parts of the SVD.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import kind_and_rank, pair_seen


def of_spectrum(generator: np.random.Generator, d_out: int, d_in: int, values) -> np.ndarray:
    """A matrix with these singular values, in float32."""
    n = len(values)
    U, _ = np.linalg.qr(generator.normal(size=(d_out, n)))
    V, _ = np.linalg.qr(generator.normal(size=(d_in, n)))
    return ((U * values) @ V.T).astype(np.float32)


def falling(generator: np.random.Generator, n: int) -> np.ndarray:
    """n singular values, each clearly smaller than the one before."""
    return 4 * np.cumprod(generator.uniform(0.6, 0.85, n))


def lora_cases(generator: np.random.Generator) -> Cases:
    """A tall, a wide and a square update."""
    shapes = [(9, 6, 2), (6, 9, 3), (7, 7, 4)]
    return [
        [of_spectrum(generator, out, wide, falling(generator, min(out, wide))), r]
        for out, wide, r in shapes
    ]


def to_lora(update, r, values: Callable = lambda S: (1.0, S), first: Callable | None = None):
    """(A, B) with the singular values in B; some mistakes put them elsewhere or take others."""
    U, S, V = np.linalg.svd(update, full_matrices=False)
    if first is not None:
        U, S, V = first(U, S, V)
    in_A, in_B = values(S[:r])
    A = (np.ones(r) * in_A)[:, None] * V[:r]
    return A, U[:, :r] * in_B


def first_rows(update, r):
    """The first rows of the update, and nothing of the others."""
    return update[:r], np.eye(update.shape[0], r)


TO_LORA = Task(
    name="to_lora",
    title="2a. Any update as a LoRA",
    points=3,
    cases=lora_cases,
    answer=to_lora,
    observe=pair_seen,
    tolerance=1e-3,
    parts=by_case("a tall layer", "a wide layer", "a square layer"),
    misconceptions=[
        Misconception(
            partial(to_lora, values=lambda S: (1.0, 1.0)),
            "The singular values are missing: U V alone gives every direction the same weight.",
        ),
        Misconception(
            partial(to_lora, values=lambda S: (S, S)),
            "The singular values are in A and in B, so the product has their squares. Put them "
            "into one, or their square roots into both.",
        ),
        Misconception(
            partial(to_lora, first=lambda U, S, V: (U, S, V.T)),
            "You took columns of what torch.linalg.svd calls Vh. Its rows are the directions of "
            "the input: A is its first r rows.",
        ),
        Misconception(
            partial(to_lora, first=lambda U, S, V: (U[:, ::-1], S[::-1], V[::-1])),
            "You kept the smallest singular values. svd gives them in falling order, so the first "
            "r are the ones to keep.",
        ),
        Misconception(
            first_rows,
            "You kept r rows of the update and dropped the others. The best r directions are "
            "those of the SVD, and no rows of the matrix.",
        ),
        Misconception(
            lambda update, r: to_lora(update, r)[::-1],
            "The pair is turned round: return A (r, d_in) first, then B (d_out, r).",
        ),
    ],
    why="The first r parts of the SVD are the closest matrix of rank r that there is (Eckart and "
    "Young), and a product of two thin matrices is all that a LoRA file holds.",
)


def needed_cases(generator: np.random.Generator) -> Cases:
    """Slowly falling spectra, each with another error that is allowed."""
    found = []
    for d_out, d_in, tolerance in [(30, 24, 0.5), (24, 32, 0.3), (28, 28, 0.2), (26, 40, 0.1)]:
        values = 4 * np.cumprod(generator.uniform(0.85, 0.97, min(d_out, d_in)))
        found.append([of_spectrum(generator, d_out, d_in, values), tolerance])
    return found


def rank_needed(update, tolerance, power=2, root=0.5, shift=0):
    """The smallest r whose missing part is within the tolerance; the mistakes differ in powers."""
    S = np.linalg.svd(update.astype(np.float64), compute_uv=False) ** power
    missing = [(S[r:].sum() / S.sum()) ** root for r in range(len(S) + 1)]
    return int(next(r for r, part in enumerate(missing) if part <= tolerance)) + shift


def by_largest(update, tolerance):
    """The number of singular values that are not small beside the largest."""
    S = np.linalg.svd(update.astype(np.float64), compute_uv=False)
    relative = S / S[0]
    return int((relative > tolerance).sum())


def whole_rank(update, tolerance):
    """The rank of the update itself."""
    return int(np.linalg.matrix_rank(update))


NEEDED = Task(
    name="rank_needed",
    title="2b. How much rank does it take?",
    points=2,
    cases=needed_cases,
    answer=rank_needed,
    observe=kind_and_rank,
    parts=by_case("half", "three tenths", "a fifth", "a tenth"),
    misconceptions=[
        Misconception(
            partial(rank_needed, power=1, root=1),
            "You added the singular values as they are. The Frobenius norm adds their squares and "
            "takes the root.",
        ),
        Misconception(
            partial(rank_needed, root=1),
            "You compared the share of the squares with the tolerance. The error is a norm: take "
            "the root of that share.",
        ),
        Misconception(
            by_largest,
            "You counted the singular values that are larger than tolerance times the largest. "
            "What is dropped counts together: many small ones make a large error.",
        ),
        Misconception(
            partial(rank_needed, shift=-1),
            "One too few: with r - 1 directions the error is still above the tolerance.",
        ),
        Misconception(
            partial(rank_needed, shift=1),
            "One too many: r is the smallest rank that is within the tolerance.",
        ),
        Misconception(
            whole_rank,
            "This is the rank of the whole update. Asked for is the smallest rank whose error is "
            "within the tolerance.",
        ),
        Misconception(
            lambda *given: float(rank_needed(*given)),
            "The rank is right, but it is a float. A rank is an int.",
        ),
    ],
    why="The error of the best copy of rank r is the root of the sum of the squares of the "
    "singular values that were dropped: known before any model is run.",
)
