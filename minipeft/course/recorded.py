"""Results that take longer than a lesson's minute: run once by a seeded script, shipped as JSON."""

import json
import statistics
from dataclasses import dataclass

from minipeft.core.errors import nearest
from minipeft.course.base import DATA


@dataclass(frozen=True)
class Tuned:
    """One method at one learning rate after 120 steps of 8 texts: means over three seeds.

    Attributes:
        method, rate: "lora" (r = 8, alpha 16, all linear layers), "full" or "last block".
        trained: how many numbers.
        learned: the new task's loss above its floor, nats per token; smaller is better.
        forgotten: the loss on the base's own world above its floor; smaller is better.
        spread: (smallest, largest) of `learned` over the seeds.
        size: mean over the matrices of ||W - W0|| / ||W0||.
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


def learning_and_forgetting(task: str) -> dict[str, list[Tuned]]:
    """What `scripts/sweep.py` found for a task: for each method its learning rates, ascending.

    Raises:
        ValueError: the task was not swept.
    """
    text = (DATA / "learning_and_forgetting.json").read_text(encoding="utf-8")
    runs = json.loads(text)["runs"]
    if task not in {run["task"] for run in runs}:
        raise ValueError(f"no sweep of task {task!r}; {nearest(task, {r['task'] for r in runs})}")
    runs = [run for run in runs if run["task"] == task]
    points = dict.fromkeys((run["method"], run["rate"]) for run in runs)
    found: dict[str, list[Tuned]] = {}
    for method, rate in sorted(points, key=lambda point: point[1]):
        same = [run for run in runs if (run["method"], run["rate"]) == (method, rate)]
        found.setdefault(method, []).append(_mean_of(same))
    return {method: found[method] for method in ("lora", "full", "last block")}


def _mean_of(runs: list[dict]) -> Tuned:
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
