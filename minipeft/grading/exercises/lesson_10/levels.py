"""Task 2: levels at the quantiles of the normal distribution. QLoRA, section 3 and appendix E."""

from collections.abc import Callable
from functools import partial
from statistics import NormalDist

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case

NF4 = (7, 8, 0.9677083)  # levels below zero, levels above, the outermost probability
NORMAL = NormalDist()


def quantiles(
    count: int, outermost: float, end: bool = False, of: Callable = NORMAL.inv_cdf
) -> np.ndarray:
    """Quantiles at `count` even steps from `outermost` down to 1/2; 1/2 itself only with `end`."""
    steps = range(count + 1) if end else range(count)
    return np.array([of(outermost - i * (outermost - 0.5) / count) for i in steps])


def normal_levels(below, above, outermost, zero=(0.0,), largest=None, **how) -> np.ndarray:
    """-quantiles(below), 0, quantiles(above), ascending and divided by the largest."""
    negative, positive = (quantiles(count, outermost, **how) for count in (below, above))
    levels = np.concatenate([-negative, zero, positive[::-1]])
    return levels / (largest or levels.max())


def even(below, above, outermost) -> np.ndarray:
    """Evenly spaced levels on either side of zero."""
    negative, positive = np.linspace(-1, 0, below + 1), np.linspace(0, 1, above + 1)
    return np.concatenate([negative, positive[1:]])


def centres(below, above, outermost) -> np.ndarray:
    """The quantile in the middle of each of n bins of equal probability."""
    n = below + above + 1
    levels = np.array([NORMAL.inv_cdf((i + 0.5) / n) for i in range(n)])
    return levels / levels.max()


def cases(generator: np.random.Generator) -> Cases:
    """NF4's own, smaller ones, one with as many levels on both sides."""
    p, q, r = (round(float(generator.uniform(0.9, 0.99)), 4) for _ in range(3))
    return [list(NF4), [3, 4, p], [5, 2, q], [6, 6, r]]


LEVELS = Task(
    name="normal_levels",
    title="2. Levels from quantiles",
    points=3,
    cases=cases,
    answer=normal_levels,
    parts=by_case("NF4", "other counts", "other counts", "as many on both sides"),
    misconceptions=[
        Misconception(
            lambda below, above, outermost: normal_levels(above, above, outermost),
            "You put as many levels below zero as above. NF4 isn't symmetric: 7 below, 0, and 8 "
            "above, so that zero is a level and all 16 codes are used.",
        ),
        Misconception(
            partial(normal_levels, zero=()),
            "Zero is missing. A weight that is exactly zero, as padding is, should come back as "
            "zero.",
        ),
        Misconception(
            partial(normal_levels, zero=(), end=True),
            "Zero is there twice: both sides end at the probability 1/2. Leave it out on both, and "
            "put one zero between them.",
        ),
        Misconception(
            partial(normal_levels, largest=1.0),
            "Your levels aren't divided by the largest, so the absmax of a block finds no level "
            "that stands for it.",
        ),
        Misconception(
            lambda *given: normal_levels(*given)[::-1],
            "Your levels descend. Asked for is ascending: the smallest is code 0.",
        ),
        Misconception(
            even,
            "Your levels are evenly spaced. Even steps are taken in the probability, and the "
            "quantile function turns them into levels.",
        ),
        Misconception(
            centres,
            "You take the middles of bins of equal probability, as some tutorials do. That has "
            "other levels and none at zero: take each side by itself, from `outermost` to 1/2.",
        ),
        Misconception(
            partial(normal_levels, of=NORMAL.cdf),
            "You use the cumulative distribution function. Its inverse is meant: from a "
            "probability to the value below which that share lies.",
        ),
    ],
    why="Even steps in probability put many levels where many weights are. Each side by itself "
    "gives an exact zero, and dividing by the largest makes the absmax exact as well.",
)
