"""Results that take longer than a lesson's minute: run once by a seeded script, shipped as JSON."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from minipeft.core.errors import nearest
from minipeft.course.base import DATA

P = TypeVar("P")


@dataclass(frozen=True)
class Tuned:
    """One method at one learning rate after 120 steps of 8 texts: means over three seeds.

    Attributes:
        method, rate: "lora" (r = 8, alpha 16, all linear layers), or one of `baselines.BASELINES`.
        trained: how many numbers.
        learned: the new task's loss above its floor, nats per token; smaller is better.
        forgotten: the loss on the base's own world above its floor; smaller is better.
        spread: (smallest, largest) of `learned` over the seeds.
        size: mean over the matrices of ||W - W0|| / ||W0||; for "norms", each matrix is taken
            with the norm before it.
    """

    method: str
    rate: float
    trained: int
    learned: float
    forgotten: float
    spread: tuple[float, float]
    size: float

    def __str__(self) -> str:
        """A narrow line; losses are above the floors, the size of the update is in W0's."""
        return (
            f"{self.method:<10} {self.rate:<6} {self.trained:>9,} trained: task "
            f"{self.learned:.2f}, own world {self.forgotten:.2f}, moved {self.size:.0%}"
        )


def learning_and_forgetting(
    task: str, methods: Sequence[str] = ("lora", "full", "last block")
) -> dict[str, list[Tuned]]:
    """What `scripts/sweep.py` found for a task: for each method its learning rates, ascending.

    Raises:
        ValueError: the task or one of the methods was not swept.
    """
    runs = recorded_runs()
    if task not in {run["task"] for run in runs}:
        raise ValueError(f"no sweep of task {task!r}; {nearest(task, {r['task'] for r in runs})}")
    runs = [run for run in runs if run["task"] == task]
    known = {run["method"] for run in runs}
    for method in methods:
        if method not in known:
            raise ValueError(f"no sweep of method {method!r}; {nearest(method, known)}")
    found = by_rate(runs, "method", mean_of)
    return {method: found[method] for method in methods}


def best(points: Sequence[Tuned]) -> Tuned:
    """The point that learned most: the method at its own best rate."""
    return min(points, key=lambda point: point.learned)


@dataclass(frozen=True)
class Spread:
    """A loss above its floor at one learning rate: the mean over three seeds, and its ends.

    forgotten: the mean loss on the base's own world above its floor, where that was measured.
    """

    rate: float
    mean: float
    low: float
    high: float
    forgotten: float | None = None


def loss_over_answers() -> dict[str, list[Spread]]:
    """What `scripts/sweep_answers.py` found: {"all tokens": ..., "the answer": ...} by rate.

    Full fine-tuning for 120 steps on the chef's texts, with the loss over these tokens; above the
    floor is the loss on the answers of the test set, nats per token.
    """
    return by_rate(recorded_runs("loss_over_answers"), "counted", _spread_of)


def from_scratch() -> dict[str, list[Spread]]:
    """What `scripts/sweep_scratch.py` found: {"full": ..., "lora": ...} by rate.

    120 steps of 8 texts of the base's own world from random weights; above the floor is the loss
    on texts of that world never seen, nats per token.
    """
    return by_rate(recorded_runs("from_scratch"), "method", _spread_of)


def recorded_runs(name: str = "learning_and_forgetting") -> list[dict]:
    """The single runs of one sweep, as its script wrote them."""
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))["runs"]


def by_rate(
    runs: Sequence[dict], kind: str, point_of: Callable[[list[dict]], P]
) -> dict[Any, list[P]]:
    """{run[kind]: for each of its learning rates, ascending, the point of its seeds' runs}."""
    found: dict[Any, list[P]] = {}
    for name, rate in sorted({(run[kind], run["rate"]) for run in runs}):
        same = [run for run in runs if (run[kind], run["rate"]) == (name, rate)]
        found.setdefault(name, []).append(point_of(same))
    return found


def validated_rate(runs: Sequence[dict]) -> float:
    """The rate with the smallest loss on the validation texts among the runs of seed 0."""
    return min((run for run in runs if run["seed"] == 0), key=lambda run: run["validation"])["rate"]


def _spread_of(runs: list[dict]) -> Spread:
    above = [run["loss"] - run["floor"] for run in runs]
    own = [run["own_loss"] - run["own_floor"] for run in runs if "own_loss" in run]
    forgotten = statistics.mean(own) if own else None
    return Spread(runs[0]["rate"], statistics.mean(above), min(above), max(above), forgotten)


def mean_of(runs: list[dict]) -> Tuned:
    """One method at one rate, from the runs of its seeds."""
    learned = [run["loss"] - run["floor"] for run in runs]
    return Tuned(
        method=runs[0]["method"],
        rate=runs[0]["rate"],
        trained=runs[0]["trained"],
        learned=statistics.mean(learned),
        forgotten=statistics.mean(run["own_loss"] - run["own_floor"] for run in runs),
        spread=(min(learned), max(learned)),
        size=statistics.mean(run["size"] for run in runs),
    )
