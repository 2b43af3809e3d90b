"""Task 2: the rate of each method tuned on validation, its test losses told with their spread.

A record is one run: {"method", "rate", "seed", "validation", "test"}, losses above the floor.
"""

from collections.abc import Callable
from functools import partial
from statistics import mean, stdev

import numpy as np

from ...tasks import Cases, Misconception, Pieces, Task, by_case
from .asked import names_seen

METHODS = ("full", "LoRA", "DoRA", "adapters", "prefix", "(IA)3", "BitFit")
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
Runs = list[dict[str, object]]
Groups = dict[str, dict[float, Runs]]


def grouped(runs: Runs) -> Groups:
    """{method: {rate: its runs}}."""
    found: Groups = {}
    for run in runs:
        found.setdefault(run["method"], {}).setdefault(run["rate"], []).append(run)
    return found


def by_mean(runs: Runs, split: str = "validation") -> float:
    """The mean loss of some runs on one of the splits; the smaller, the better."""
    return mean(run[split] for run in runs)


def chosen(groups: Groups, judged: Callable = by_mean) -> dict[str, float]:
    """{method: its rate}."""
    return {
        method: min(rates, key=lambda rate: judged(rates[rate])) for method, rates in groups.items()
    }


def one_rate(groups: Groups) -> dict[str, float]:
    """One rate for all methods, the best for all of them together."""

    def of_all(rate: float) -> float:
        return mean(by_mean(rates[rate]) for rates in groups.values() if rate in rates)

    return dict.fromkeys(groups, min(RATES, key=of_all))


def report(
    runs: Runs,
    rates: Callable = chosen,
    told: str = "test",
    average: Callable = mean,
    kept: Callable = lambda of_rate, rate: of_rate[rate],
) -> dict[str, dict[str, float]]:
    """{method: {"rate", "mean", "lowest", "highest"}}; the mistakes choose or tell otherwise."""
    groups = grouped(runs)
    found = {}
    for method, rate in rates(groups).items():
        losses = [run[told] for run in kept(groups[method], rate)]
        found[method] = {
            "rate": rate,
            "mean": average(losses),
            "lowest": min(losses),
            "highest": max(losses),
        }
    return found


def total(runs: Runs) -> float:
    """The sum, which is small where a record is missing."""
    return sum(run["validation"] for run in runs)


def on_test(runs: Runs) -> float:
    return by_mean(runs, "test")


def best_seed(runs: Runs) -> float:
    return min(run["validation"] for run in runs)


def worst_first(runs: Runs) -> float:
    return -by_mean(runs)


def every_run(of_rate: dict[float, Runs], rate: float) -> Runs:
    """The runs of all rates."""
    return [run for runs in of_rate.values() for run in runs]


def some_runs(generator: np.random.Generator) -> Runs:
    """Three methods, five rates, three seeds; each method is best at another rate, or nearly."""
    found = []
    for method in generator.permutation(METHODS)[:3]:
        best, floor = generator.integers(1, 4), generator.uniform(0.2, 0.5)
        for place, rate in enumerate(RATES):
            level = floor + 0.06 * abs(place - best) ** 1.5 + generator.uniform(0, 0.05)
            for seed in range(3):
                losses = level + 0.04 * generator.normal(size=2)
                validation, test = (round(float(loss), 4) for loss in losses)
                found.append({"method": str(method), "rate": rate, "seed": seed,
                              "validation": max(validation, 0.01), "test": max(test, 0.01)})  # fmt: skip
    lost = [int(n) for n in generator.permutation(len(found))[:6]]
    return [found[int(n)] for n in generator.permutation(len(found)) if int(n) not in lost]


def tells_apart(runs: Runs) -> bool:
    """Whether each wrong choice of rates shows, and no right one is close."""
    groups = grouped(runs)
    if any(len(rates) < len(RATES) for rates in groups.values()):
        return False
    means = [sorted(by_mean(of_rate) for of_rate in rates.values()) for rates in groups.values()]
    ways = [one_rate(groups)]
    ways += [chosen(groups, judged) for judged in (by_mean, total, on_test, best_seed)]
    differ = len({tuple(sorted(way.items())) for way in ways}) == len(ways)
    return differ and all(b - a > 1e-3 for a, b, *_ in means)


def report_cases(generator: np.random.Generator) -> Cases:
    """Two sweeps in which every wrong choice of rates shows."""
    found: Cases = []
    while len(found) < 2:
        runs = some_runs(generator)
        if tells_apart(runs):
            found.append([runs])
    return found


def by_field(got: list, want: list) -> Pieces:
    """Parts by what is told of a method, each over all methods and sweeps."""

    def of(answers: list, names: tuple[str, ...]) -> list:
        return [
            {m: [row.get(name) for name in names] if isinstance(row, dict) else row
             for m, row in answer.items()} if isinstance(answer, dict) else answer
            for answer in answers
        ]  # fmt: skip

    parts = {"rates": ("rate",), "means": ("mean",), "spread": ("lowest", "highest")}
    return {part: (of(got, names), of(want, names)) for part, names in parts.items()}


REPORT = Task(
    name="report",
    title="2a. Tune, then tell",
    points=3,
    cases=report_cases,
    answer=lambda runs: report(runs),
    parts=by_field,
    misconceptions=[
        Misconception(
            partial(report, rates=partial(chosen, judged=on_test)),
            "You chose the rates on the test losses. What a rate was chosen by flatters it: choose "
            "on validation, and look at the test losses of that rate only.",
        ),
        Misconception(
            partial(report, rates=partial(chosen, judged=best_seed)),
            "You chose the rate of the best single run. Compare rates by their mean over the seeds.",
        ),
        Misconception(
            partial(report, rates=one_rate),
            "You gave all methods one rate. Each method has a best rate of its own, and one rate "
            "for all is a comparison of who likes that rate.",
        ),
        Misconception(
            partial(report, rates=partial(chosen, judged=total)),
            "You added up validation losses. Where the record of a seed is missing the sum is "
            "smaller, and the rate is no better: take the mean.",
        ),
        Misconception(
            partial(report, rates=partial(chosen, judged=worst_first)),
            "You chose the rate with the largest loss. Losses above the floor are better when they "
            "are small.",
        ),
        Misconception(
            partial(report, told="validation"),
            "You tell validation losses. They served to choose the rate; told is the test.",
        ),
        Misconception(
            partial(report, average=min),
            "Your mean is the best seed's loss. The best of three is no property of the method.",
        ),
        Misconception(
            partial(report, kept=every_run),
            "You average over all rates. A method is told at its own best rate.",
        ),
    ],
    why="The rate is part of a method as it is used, so each gets its own, chosen on data that the "
    "test does not see; the seeds show how much of a difference is luck.",
)


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
            "You name the lowest mean alone. Whose losses overlap with its losses may be as good: "
            "with other seeds their order may turn.",
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
