"""Task 4: the FLOPs of one training step through a chain of matrices."""

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import whole


def step_flops(shapes, trained, tokens) -> int:
    """2 n tokens for each product: forward, gradient of the matrix, gradient of its input."""
    lowest = min((at for at, learns in enumerate(trained) if learns), default=len(shapes))
    return count(
        shapes,
        trained,
        tokens,
        matrix=lambda at: trained[at],
        below=lambda at: at > lowest,
    )


def count(shapes, trained, tokens, matrix, below, each=2) -> int:
    """The sum over all matrices; `matrix` and `below` say which gradients are worked out."""
    products = [1 + bool(matrix(at)) + bool(below(at)) for at in range(len(shapes))]
    numbers = [d_out * d_in for d_out, d_in in shapes]
    return each * tokens * sum(n * times for n, times in zip(numbers, products, strict=True))


def as_in_full(shapes, trained, tokens) -> int:
    """Three products everywhere, as if everything were trained and had something below."""
    return count(shapes, trained, tokens, lambda at: True, lambda at: True)


def skipping_frozen(shapes, trained, tokens) -> int:
    """As if a gradient could jump over what is frozen."""
    return count(shapes, trained, tokens, lambda at: trained[at], lambda at: trained[at] and at > 0)


def always_down(shapes, trained, tokens) -> int:
    """As if the gradient went down to the input in any case."""
    return count(shapes, trained, tokens, lambda at: trained[at], lambda at: True)


def one_too_far(shapes, trained, tokens) -> int:
    """The input's gradient of the lowest trained matrix too."""
    lowest = min((at for at, learns in enumerate(trained) if learns), default=len(shapes))
    return count(shapes, trained, tokens, lambda at: trained[at], lambda at: at >= lowest)


def by_share(shapes, trained, tokens) -> int:
    """As if work went with the number of trained numbers."""
    learning = sum(a * b for (a, b), learns in zip(shapes, trained, strict=True) if learns)
    return 6 * tokens * learning


def forward_only(shapes, trained, tokens) -> int:
    """No backward pass."""
    return count(shapes, trained, tokens, lambda at: False, lambda at: False)


def cases(generator: np.random.Generator) -> Cases:
    """All, the last, the first, one in the middle, two, and none trained."""
    found = []
    for learning in ([0, 1, 2, 3, 4], [4], [0], [2], [1, 3], []):
        sides = [int(n) for n in generator.integers(5, 60, 6)]
        shapes = [[d_out, d_in] for d_in, d_out in zip(sides, sides[1:], strict=False)]
        trained = [at in learning for at in range(5)]
        found.append([shapes, trained, int(generator.integers(2, 90))])
    return found


ALL, LAST, DEEP, NONE = "all are trained", "the last alone", "others in front", "none is trained"

FLOPS = Task(
    name="step_flops",
    title="4. The FLOPs of a step",
    points=4,
    cases=cases,
    answer=step_flops,
    observe=whole,
    parts=by_case(ALL, LAST, DEEP, DEEP, DEEP, NONE),
    weights={DEEP: 2},
    trivial=[forward_only],
    misconceptions=[
        Misconception(
            always_down,
            "You take the gradient down to the input in any case. Below the lowest trained matrix "
            "nobody asks for it, so it is never worked out.",
        ),
        Misconception(
            one_too_far,
            "You take the input's gradient of the lowest trained matrix too. What lies below is "
            "frozen and needs none.",
        ),
        Misconception(
            skipping_frozen,
            "You let gradients jump over frozen matrices. They pass through: a frozen matrix "
            "above a trained one costs the product with its transpose.",
        ),
        Misconception(
            as_in_full,
            "You count 6 n for every matrix, as if everything were trained. A frozen one needs no "
            "gradient of its own, and the first one none of its input.",
        ),
        Misconception(
            by_share,
            "You count as if the work went with the trained numbers. The forward pass goes through "
            "all matrices, whoever learns.",
        ),
        Misconception(
            lambda *given: step_flops(*given) // 2,
            "You count multiplications alone. Each comes with an addition: 2 FLOPs.",
        ),
        Misconception(
            forward_only,
            "This is the forward pass alone. Training goes back as well.",
        ),
        Misconception(
            lambda *given: float(step_flops(*given)),
            "The numbers are right, but they are floats. A count is an int.",
        ),
    ],
    why="Three products for each matrix: forward, its own gradient, its input's. Freezing saves the "
    "second; only what lies below all that is trained saves the third. So a step that trains a "
    "thousandth of the numbers, deep down, still takes two thirds of the FLOPs.",
)
