"""What bottleneck adapters learn and forget, by learning rate, and what straight copies of them do.

    python scripts/sweep_adapters.py       # about five minutes of CPU

writes minipeft/course/data/adapters.json, which lesson 07 draws; it repeats one point live. Every
run is 120 steps of 8 texts, as in scripts/sweep.py; a seed decides the task's draw and the
adapter's start. Losses are in nats per token. `added`, `bend` and `copied_loss` are what
`course.lessons.bottleneck` says, taken on the new task: the straight copies are fitted on texts of
its training set, and the loss is that of its test set.
"""

import itertools
import sys
from pathlib import Path
from statistics import mean

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft.course import evaluate, train  # noqa: E402
from minipeft.course.base import DATA  # noqa: E402
from minipeft.course.lessons import bottleneck  # noqa: E402
from minipeft.course.lessons.merging import Bench  # noqa: E402
from scripts.sweep import SEEDS, STEPS, fill  # noqa: E402

METHODS = ("parallel", "parallel, straight", "houlsby")
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
TASK = "instruction"
FITTED = 20  # batches on which the straight copies are fitted


def tuned(task: str, method: str, rate: float, seed: int) -> dict:
    """One training: what was learned and forgotten, and what its straight copy still knows."""
    torch.manual_seed(seed)
    bench, model = Bench(task, seed), bottleneck.adapted(method)
    train(model, bench.task.train, steps=STEPS, learning_rate=rate, show=False)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    found = {"task": task, "method": method, "rate": rate, "seed": seed, "trained": trained}
    found |= losses(bench, model)
    parts = bottleneck.seen(model, bench.task.train[:FITTED]).values()
    found["added"] = round(mean(part.relative for part in parts), 4)
    found["bend"] = round(mean(bottleneck.bend(part) for part in parts), 4)
    bottleneck.copied_straight(model, bench.task.train[:FITTED])
    return found | {"copied_loss": round(evaluate(model, bench.task.test), 4)}


def losses(bench: Bench, model: torch.nn.Module) -> dict:
    """New task and own world with their floors, in nats per token."""
    return {
        "loss": round(evaluate(model, bench.task.test), 4),
        "floor": round(bench.task.floor, 4),
        "own_loss": round(evaluate(model, bench.own), 4),
        "own_floor": round(bench.own_floor, 4),
    }


def main() -> None:
    """Run what is missing, method by method."""
    asked = [
        {"task": TASK, "method": method, "rate": rate, "seed": seed}
        for seed, method, rate in itertools.product(SEEDS, METHODS, RATES)
    ]
    fill(Path(str(DATA)) / "adapters.json", asked, tuned, {"steps": STEPS, "batch_size": 8})


if __name__ == "__main__":
    main()
