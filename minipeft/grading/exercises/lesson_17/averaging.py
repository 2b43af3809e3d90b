"""Tasks 1 and 5: the mean of gradients, weighed by tokens, and the mean of adapters.

The exact mean of several LoRAs is a LoRA of the sum of their ranks: [B1 .. Bp] [A1; ..; Ap] / p.
"""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import adapter_seen


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers, in float32 as torch has them."""
    return generator.normal(size=shape).astype(np.float32)


def weigh_cases(generator: np.random.Generator) -> Cases:
    """Two processes, then three and five, with unequal numbers of tokens."""
    found = []
    for processes in (2, 3, 5):
        counts = [int(n) for n in generator.permutation(np.arange(3, 90))[:processes]]
        found.append([normal(generator, processes, 7), counts])
    return found


def whole_gradient(gradients, counts, weight=lambda n: n, total=sum):
    """The weighted mean; the mistakes weigh otherwise, or divide by something else."""
    weights = [weight(n) for n in counts]
    return sum(w * np.float64(g) for w, g in zip(weights, gradients, strict=True)) / total(weights)


WEIGH = Task(
    name="whole_gradient",
    title="1. The gradient of the whole batch",
    points=2,
    cases=weigh_cases,
    answer=lambda gradients, counts: whole_gradient(gradients, counts),
    parts=by_case("two processes", "three processes", "five processes"),
    misconceptions=[
        Misconception(
            partial(whole_gradient, weight=lambda n: 1),
            "This is the mean of the means: each process counts alike, so a token counts more "
            "where there are few of them. Weigh each gradient by its number of tokens.",
        ),
        Misconception(
            partial(whole_gradient, weight=lambda n: 1, total=lambda weights: 1),
            "You add the gradients and divide by nothing: the step grows with the number of "
            "processes.",
        ),
        Misconception(
            partial(whole_gradient, total=lambda weights: 1),
            "You weigh each gradient by its tokens, but do not divide by the number of all "
            "tokens: this is the gradient of the summed loss, not of its mean.",
        ),
        Misconception(
            partial(whole_gradient, total=len),
            "You weigh by tokens and divide by the number of processes. The weights add up to "
            "the number of all tokens: divide by that.",
        ),
        Misconception(
            partial(whole_gradient, weight=lambda n: 1 / n),
            "Your weights are turned over: a process with more tokens must count more, not less.",
        ),
        Misconception(
            partial(whole_gradient, weight=lambda n: 1 / n, total=lambda weights: 1),
            "Each gradient is divided by its number of tokens once more. It is the gradient of a "
            "mean already: multiply by the tokens, then divide by all of them.",
        ),
    ],
    why="n_k times the mean of part k is its sum; all sums together, over all tokens, are the "
    "gradient that one process would have found with the whole batch.",
)


def adapter_cases(generator: np.random.Generator) -> Cases:
    """Two adapters, three, and four of rank 1."""
    found = []
    for count, r in ((2, 2), (3, 3), (4, 1)):
        d_out, d_in = (int(n) for n in generator.permutation(np.arange(5, 11))[:2])
        found.append([normal(generator, count, r, d_in), normal(generator, count, d_out, r)])
    return found


def average_adapters(A, B, share=lambda count: 1 / count, down=lambda count: 1.0):
    """A and B stacked, B times `share`; some mistakes scale otherwise."""
    return (
        down(len(A)) * np.concatenate(list(np.float64(A)), axis=0),
        share(len(B)) * np.concatenate(list(np.float64(B)), axis=1),
    )


def factor_by_factor(A, B):
    """The mean of all A and the mean of all B: right for neither rank nor product."""
    return np.float64(A).mean(axis=0), np.float64(B).mean(axis=0)


AVERAGE = Task(
    name="average_adapters",
    title="5a. The mean of adapters",
    points=3,
    cases=adapter_cases,
    answer=lambda A, B: average_adapters(A, B),
    observe=adapter_seen,
    parts=by_case("two adapters", "three adapters", "four of rank 1"),
    misconceptions=[
        Misconception(
            factor_by_factor,
            "You average A and B one by one. The mean of products is not the product of means: "
            "B1 also meets A2 in your product. Stack the matrices.",
        ),
        Misconception(
            partial(average_adapters, share=lambda count: 1.0),
            "This is the sum of the updates. Asked for is their mean: divide by the number of "
            "adapters, once.",
        ),
        Misconception(
            partial(average_adapters, down=lambda count: 1 / count),
            "You divide A and B both by the number of adapters. Their product is then divided "
            "twice.",
        ),
        Misconception(
            lambda A, B: average_adapters(A, B[::-1]),
            "A and B are stacked in different orders, so each B meets another adapter's A.",
        ),
        Misconception(
            lambda A, B: average_adapters(A[:1], B[:1]),
            "This is process 0's adapter alone. Its update is one of those to be averaged.",
        ),
        Misconception(
            lambda A, B: average_adapters(A, B)[::-1],
            "You return B first. Asked for is (A, B).",
        ),
    ],
    why="[B1 B2] [A1; A2] is B1 A1 + B2 A2: the mean of p adapters of rank r is an adapter of "
    "rank p r. It is exact, and as large as all of them together.",
)
