"""Task 2b: which methods may still be best, where the losses of a few seeds overlap."""

from collections.abc import Callable
from functools import partial
from statistics import mean, stdev

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import names_seen
from .tuning import METHODS

def reach(losses: dict[str, list[float]], name: str) -> tuple[float, float]:
    """(lowest, highest) of a method's losses."""
    return min(losses[name]), max(losses[name])


def overlap(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Whether two ranges have a number in common."""
    return first[0] <= second[1] and second[0] <= first[1]


def lowest_mean(losses: dict[str, list[float]]) -> str:
    return min(losses, key=lambda name: mean(losses[name]))


def lowest_run(losses: dict[str, list[float]]) -> str:
    return min(losses, key=lambda name: min(losses[name]))


def contenders(losses, best: Callable = lowest_mean, spread: Callable = reach) -> list[str]:
    """Whose range overlaps that of the method with the lowest mean."""
    range_of_best = spread(losses, best(losses))
    return [name for name in losses if overlap(spread(losses, name), range_of_best)]


def alone(losses: dict[str, list[float]]) -> list[str]:
    return [lowest_mean(losses)]


def chained(losses: dict[str, list[float]]) -> list[str]:
    """Overlaps of overlaps count as well."""
    found = alone(losses)
    for name in found:
        ranges = reach(losses, name)
        found += [n for n in losses if n not in found and overlap(reach(losses, n), ranges)]
    return found


def mean_within(losses: dict[str, list[float]]) -> list[str]:
    """Whose mean lies in the range of the best."""
    low, high = reach(losses, lowest_mean(losses))
    return [name for name in losses if low <= mean(losses[name]) <= high]


def lowest_within(losses: dict[str, list[float]]) -> list[str]:
    """Whose lowest loss lies in the range of the best; a wider range is overlooked."""
    low, high = reach(losses, lowest_mean(losses))
    return [name for name in losses if low <= min(losses[name]) <= high]


def one_deviation(losses: dict[str, list[float]], name: str) -> tuple[float, float]:
    """(mean - s, mean + s)."""
    center, s = mean(losses[name]), stdev(losses[name])
    return center - s, center + s


WINNER, TOUCH, CHAIN, LUCKY, WIDE = (
    "a clear winner",
    "two that overlap",
    "a chain",
    "a lucky seed",
    "a wide range",
)
# The losses of three methods in thousandths, the best mean first. The last has a seed more there:
# the sum of its losses is the largest.
PLACES = {
    WINNER: ([0, 20, 60], [110, 150, 170], [400, 420, 430]),
    TOUCH: ([0, 10, 300], [280, 600, 610], [900, 910, 940]),
    CHAIN: ([0, 20, 150], [80, 140, 210], [200, 290, 330]),
    LUCKY: ([100, 150, 200], [0, 300, 700], [650, 800, 850]),
    WIDE: ([200, 210, 210, 230], [40, 300, 500], [260, 270, 280]),
}


def contender_cases(generator: np.random.Generator) -> Cases:
    """One case of each kind, moved and stretched, its methods and seeds in any order."""
    found = []
    for places in PLACES.values():
        names = [str(name) for name in generator.permutation(METHODS)[: len(places)]]
        start, stretch = generator.uniform(0.1, 0.4), generator.uniform(0.5, 1.5) / 1000
        drawn = {
            name: [
                round(float(start + stretch * place), 5) for place in generator.permutation(three)
            ]
            for name, three in zip(names, places, strict=True)
        }
        found.append([{name: drawn[name] for name in sorted(drawn)}])
    return found


CONTENDERS = Task(
    name="contenders",
    title="2b. Who may still be best?",
    points=2,
    cases=contender_cases,
    answer=lambda losses: contenders(losses),
    observe=names_seen,
    parts=by_case(*PLACES),
    trivial=[list, alone],
    misconceptions=[
        Misconception(
            alone,
            "You name the lowest mean alone. A method whose losses overlap with its losses may be as "
            "good: with other seeds their order may turn.",
        ),
        Misconception(
            chained,
            "You follow a chain: the third overlaps with the second, and not with the best. Compare "
            "each method with the best one.",
        ),
        Misconception(
            partial(contenders, best=lowest_run),
            "You compare with the method that has the best single seed. The one to compare with has "
            "the lowest mean.",
        ),
        Misconception(
            mean_within,
            "You ask whether the mean of a method lies within the range of the best. Asked for is "
            "whether the two ranges overlap.",
        ),
        Misconception(
            lowest_within,
            "You overlook a method whose range is wider than that of the best on both sides. It "
            "overlaps as well.",
        ),
        Misconception(
            partial(contenders, spread=one_deviation),
            "Your ranges are one standard deviation to each side of the mean. Asked for are the "
            "lowest and the highest loss; of three seeds, one may lie far beyond a deviation.",
        ),
    ],
    why="Three losses and three more of the same distribution do not overlap in 1 of 10 cases, "
    "2 / C(6, 3), by chance alone. So an overlap decides nothing, and a clear winner wants more "
    "seeds.",
)
