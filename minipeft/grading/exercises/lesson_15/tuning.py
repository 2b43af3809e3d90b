"""Task 2a: the rate of each method tuned on validation, its test losses told with their spread.

A record is one run: {"method", "rate", "seed", "validation", "test"}, losses above the floor.
"""

from collections.abc import Callable
from functools import partial
from statistics import mean

import numpy as np

from ...tasks import Cases, Misconception, Pieces, Task

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
            "You gave all methods one rate. Each has a best rate of its own; one rate for all "
            "shows which method likes that rate.",
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
