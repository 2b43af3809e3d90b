"""Task 2: a weighted sum of adapters as one pair, exactly, and what a cheaper sum adds.

The conventions are those of peft's add_weighted_adapter: "cat" and "linear".
"""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import sum_seen
from .mixing import normal


def adapters(generator: np.random.Generator, n: int, d_out: int, d_in: int) -> list[np.ndarray]:
    """[A (n, r, in), B (n, out, r), scale (n,)] of adapters whose scales differ."""
    A, B = normal(generator, n, 2, d_in), normal(generator, n, d_out, 2)
    return [A, B, generator.choice([0.5, 2, 3, 4], n, replace=False).astype(np.float32)]


def summed_cases(generator: np.random.Generator) -> Cases:
    """Two and three adapters, and one that is subtracted."""
    found = []
    for n, d_out, d_in, signs in [(2, 6, 6, (1, 1)), (3, 5, 8, (1, 1, 1)), (3, 9, 7, (1, -1, 1))]:
        weights = generator.uniform(0.3, 0.9, n) * signs
        found.append([*adapters(generator, n, d_out, d_in), weights.astype(np.float32)])
    return found


def summed(A, B, scale, weights, into_A=lambda w, s: w * s, into_B=lambda w, s: 1 + 0 * w):
    """(A, B) of rank n r whose product is sum_i w_i s_i B_i A_i; the mistakes weigh otherwise."""
    tall = np.concatenate([factor * a for factor, a in zip(into_A(weights, scale), A, strict=True)])
    wide = [factor * b for factor, b in zip(into_B(weights, scale), B, strict=True)]
    return tall, np.concatenate(wide, axis=1)


def one_rank(A, B, scale, weights):
    """A with A and B with B, as 'linear' does: the rank stays r."""
    factors = weights * scale
    return np.tensordot(factors, A, 1), B.sum(axis=0)


def upside_down(A, B, scale, weights):
    """The pair in the wrong order."""
    return summed(A, B, scale, weights)[::-1]


SUMMED = Task(
    name="summed",
    title="2a. Weigh, exactly",
    points=3,
    cases=summed_cases,
    answer=summed,
    observe=sum_seen,
    parts=by_case("two adapters", "three adapters", "one is subtracted"),
    misconceptions=[
        Misconception(
            partial(summed, into_B=lambda w, s: w * s),
            "Weight and scale are in A and in B, so in the product they are squared. Put them into "
            "one of the two.",
        ),
        Misconception(
            partial(summed, into_A=lambda w, s: w),
            "The adapters' own scales are missing: the sum is that of w s B A.",
        ),
        Misconception(
            partial(summed, into_A=lambda w, s: s),
            "The weights are missing: each update counts w times.",
        ),
        Misconception(
            partial(summed, into_A=lambda w, s: w * s / w.sum()),
            "You made the weights add up to 1. They are used as they are given.",
        ),
        Misconception(
            partial(summed, into_A=lambda w, s: abs(w) * s),
            "A negative weight was taken as a positive one: that adapter is to be subtracted.",
        ),
        Misconception(
            partial(summed, into_A=lambda w, s: w * s / len(w)),
            "You took the mean. A weighted sum is not divided by the number of adapters.",
        ),
        Misconception(
            one_rank,
            "You added A to A and B to B. Their product also holds B_i A_j of different adapters. "
            "Put them one below the other, and side by side: the rank grows.",
        ),
        Misconception(
            upside_down,
            "The pair is turned round: return A first, then B.",
        ),
    ],
    why="[B_1 B_2] [A_1; A_2] = B_1 A_1 + B_2 A_2: blocks side by side meet their own blocks "
    "below each other and no others. So cat is exact, and its rank is the sum of the ranks.",
)


def cross_cases(generator: np.random.Generator) -> Cases:
    """Two, three and four adapters with positive weights."""
    found = []
    for n, d_out, d_in in [(2, 8, 8), (3, 6, 10), (4, 12, 9)]:
        weights = generator.uniform(0.3, 1.5, n).astype(np.float32)
        found.append([*adapters(generator, n, d_out, d_in), weights])
    return found


def both(A, B, scale, weights, root=np.sqrt):
    """(the exact sum, the product of 'linear'), (out, in) each."""
    factors = np.asarray(weights, np.float64) * scale
    exact = np.einsum("n,nor,nri->oi", factors, B, A)
    linear = np.tensordot(root(factors), B, 1) @ np.tensordot(root(factors), A, 1)
    return exact, linear


def cross_share(A, B, scale, weights, power=1, **options):
    """||linear - exact|| / ||exact||, to some power."""
    exact, linear = both(A, B, scale, weights, **options)
    return float(np.linalg.norm(linear - exact) / np.linalg.norm(exact)) ** power


def by_its_own_size(A, B, scale, weights):
    """The same difference, in units of the linear sum."""
    exact, linear = both(A, B, scale, weights)
    return float(np.linalg.norm(linear - exact) / np.linalg.norm(linear))


def lengths(A, B, scale, weights):
    """How much longer one is than the other."""
    exact, linear = both(A, B, scale, weights)
    return float(abs(np.linalg.norm(linear) / np.linalg.norm(exact) - 1))


CROSS = Task(
    name="cross_share",
    title="2b. What the cheap sum adds",
    points=2,
    cases=cross_cases,
    answer=cross_share,
    parts=by_case("two adapters", "three adapters", "four adapters"),
    trivial=[lambda *given: 1.0, lambda *given: 0.0],
    misconceptions=[
        Misconception(
            partial(cross_share, root=lambda factors: factors),
            "You put w s into both sums, so it is squared in the product. 'linear' puts its square "
            "root into either.",
        ),
        Misconception(
            partial(cross_share, power=2),
            "This is the square of the share. The Frobenius norm has a root.",
        ),
        Misconception(
            by_its_own_size,
            "You divided by the size of the linear sum. Asked for is the share of the exact one.",
        ),
        Misconception(
            lengths,
            "You compared the lengths of two matrices. Two of equal length may differ altogether: "
            "take the norm of their difference.",
        ),
        Misconception(
            lambda A, B, scale, weights: cross_share(A, B, 1 + 0 * scale, weights),
            "The adapters' own scales are missing, in both sums.",
        ),
        Misconception(
            lambda A, B, scale, weights: cross_share(A, B, scale, 1 + 0 * weights),
            "The weights are missing, in both sums.",
        ),
    ],
    why="Each up projection meets every down projection: of n^2 products n are wanted. Adapters "
    "that were trained apart have nothing in common, so the others are as large as these.",
)
