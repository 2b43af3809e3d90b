"""What lesson 08 compares on the course's base: its methods as configs, and what was recorded.

`scripts/sweep_selective.py` and `scripts/sweep_gates.py` made the recorded runs.
"""

import json
import statistics
from dataclasses import dataclass

from minipeft.core.config import PeftConfig
from minipeft.course.base import DATA
from minipeft.course.lessons.baselines import BASELINES
from minipeft.course.lessons.recorded import (
    Tuned,
    learning_and_forgetting,
    mean_of,
    recorded_runs,
)
from minipeft.methods.bitfit import BitFitConfig
from minipeft.methods.ia3 import IA3Config
from minipeft.methods.lora import LoraConfig
from minipeft.methods.partial import PartialConfig

TASK = "instruction"
KVD = ["k_proj", "v_proj", "down_proj"]
METHODS: dict[str, PeftConfig] = {
    "ia3": IA3Config(target_modules=KVD, feedforward_modules=["down_proj"]),
    "bitfit": BitFitConfig(target_modules="all-linear"),
    "lora, 2,560": LoraConfig(r=1, lora_alpha=2, target_modules=["q_proj", "v_proj"]),
    "last 2 blocks": PartialConfig(last_layers=2),
}


def compared() -> dict[str, list[Tuned]]:
    """Every method on the chef's task at each of its rates, the baselines and LoRA first."""
    found = learning_and_forgetting(TASK, ("lora", *BASELINES))
    runs = recorded_runs("selective")
    points = sorted({(run["method"], run["rate"]) for run in runs}, key=lambda point: point[1])
    for method, rate in points:
        same = [run for run in runs if (run["method"], run["rate"]) == (method, rate)]
        found.setdefault(method, []).append(mean_of(same))
    return found


@dataclass(frozen=True)
class Chosen:
    """0.5% of the entries, chosen in one way and trained alone; means over three seeds.

    chosen_by: "gates" or "random". kept: how many entries.
    before, pruned: losses (new task, own world) above the floors with all differences, and when
        the others are gone; None for "random", which has none before.
    after: {rate: (new task, own world)} after these entries were trained.
    spread: {rate: (smallest, largest) of the new task's losses}.
    """

    chosen_by: str
    kept: int
    before: tuple[float, float] | None
    pruned: tuple[float, float] | None
    after: dict[float, tuple[float, float]]
    spread: dict[float, tuple[float, float]]

    def lines(self) -> list[str]:
        """A narrow line for each rate; losses are above the floors."""
        return [
            f"  rate {rate:g}: task {learned:.2f} ({self.spread[rate][0]:.2f} to "
            f"{self.spread[rate][1]:.2f}), own world {forgotten:.2f}"
            for rate, (learned, forgotten) in self.after.items()
        ]


def chosen() -> list[Chosen]:
    """What `scripts/sweep_gates.py` found, one entry for each way of choosing."""
    written = json.loads((DATA / "gates.json").read_text(encoding="utf-8"))
    ways = dict.fromkeys(run["chosen_by"] for run in written["runs"])
    return [_chosen(way, written) for way in ways]


def opened() -> tuple[list[int], dict[str, list[float]]]:
    """Steps, and the share of open gates at each of them by kind of matrix: seed 0."""
    written = json.loads((DATA / "gates.json").read_text(encoding="utf-8"))
    first = next(run for run in written["runs"] if run["chosen_by"] == "gates")
    steps = list(range(0, written["steps"] + 1, written["every"]))
    return steps, {kind.removesuffix("_proj"): shares for kind, shares in first["open"].items()}


def _chosen(way: str, written: dict) -> Chosen:
    runs = [run for run in written["runs"] if run["chosen_by"] == way]
    after = {rate: [run[f"after, {rate:g}"] for run in runs] for rate in written["rates"]}
    return Chosen(
        chosen_by=way,
        kept=runs[0]["kept"],
        before=_mean([run["before"] for run in runs]) if "before" in runs[0] else None,
        pruned=_mean([run["pruned"] for run in runs]) if "pruned" in runs[0] else None,
        after={rate: _mean(pairs) for rate, pairs in after.items()},
        spread={rate: (min(p)[0], max(p)[0]) for rate, p in after.items()},
    )


def _mean(pairs: list[list[float]]) -> tuple[float, float]:
    learned, forgotten = zip(*pairs, strict=True)
    return statistics.mean(learned), statistics.mean(forgotten)
