"""Recorded sums of two adapters, beside one that was trained on both; of `scripts/weighing.py`."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from minipeft.course.lessons.recorded import recorded_runs

WAYS = ("trained on both", "sum", "mean", "svd", "linear", "first alone", "second alone")
ADAPTERS = {"instruction": "chef", "operation": "larger", "facts": "people"}  # as in the lesson


@dataclass(frozen=True)
class Weighed:
    """One way of having two adapters, at the better of two learning rates: three seeds.

    way: of WAYS. pair: the two adapters. rate: that of the smaller mean loss on both tasks.
    losses: (lowest, mean, highest) above the floor, of first task, second task, own world.
    cosine: the mean cosine of the two adapters' updates at this rate.
    """

    way: str
    pair: tuple[str, str]
    rate: float
    losses: tuple[tuple[float, float, float], ...]
    cosine: float

    @property
    def label(self) -> str:
        """The pair in one word."""
        return " + ".join(self.pair)

    def __str__(self) -> str:
        """A narrow line."""
        first, second, own = (mean for _, mean, _ in self.losses)
        told = f"{first:5.2f} {second:5.2f}, own world {own:.2f}"
        return f"{self.way:<15} rate {self.rate:<6g} {told}"


def weighed_by_pair() -> list[list[Weighed]]:
    """For each pair of tasks, each of WAYS at its better learning rate."""
    runs = recorded_runs("weighing")
    pairs = dict.fromkeys(tuple(run["pair"]) for run in runs)
    return [[_best(way, [r for r in runs if tuple(r["pair"]) == p]) for way in WAYS] for p in pairs]


def _best(way: str, runs: Sequence[dict]) -> Weighed:
    rates = sorted({run["rate"] for run in runs})
    found = [_mean_of(way, [run for run in runs if run["rate"] == rate]) for rate in rates]
    asked = {"first alone": [0], "second alone": [1]}.get(way, [0, 1])
    return min(found, key=lambda point: sum(point.losses[place][1] for place in asked))


def _mean_of(way: str, runs: Sequence[dict]) -> Weighed:
    columns = list(zip(*(run["losses"][way] for run in runs), strict=True))
    losses = tuple((min(c), statistics.mean(c), max(c)) for c in columns)
    cosine = statistics.mean(run["cosine"] for run in runs)
    first, second = (ADAPTERS[task] for task in runs[0]["pair"])
    return Weighed(way, (first, second), runs[0]["rate"], losses, cosine)
