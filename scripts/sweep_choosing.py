"""What every method learns and forgets at matched numbers, with its rate tuned on validation texts.

    python scripts/sweep_choosing.py         # about twenty minutes of CPU

writes minipeft/course/data/choosing.json, which lesson 15 draws; it repeats one point live. The
conditions are those of `sweep.py`: 120 steps of 8 texts, losses in nats per token, `size` the mean
over the matrices of ||W - W0|| / ||W0||, where there are updates of matrices. Every rate runs with
seed 0; the rate with the least loss on the validation texts of that seed runs with two more seeds.
Validation texts are a draw of their own; the chef's grammar is small, so they share texts with the
test's, see `matched.shared_texts`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import nn  # noqa: E402

from minipeft import NotMergeable  # noqa: E402
from minipeft.course import evaluate, tasks, train  # noqa: E402
from minipeft.course.base import DATA  # noqa: E402
from minipeft.course.lessons import matched  # noqa: E402
from minipeft.course.lessons.merging import Bench  # noqa: E402
from scripts.sweep import BATCH, STEPS, fill, update_size  # noqa: E402

PATH = Path(str(DATA)) / "choosing.json"
LORA, WIDE = (5e-3, 1e-2, 2e-2, 4e-2), (0.1, 0.3, 1.0)
RATES = {
    None: {"full": (1e-3, 2e-3, 4e-3, 8e-3), "last block": (3e-3, 1e-2, 3e-2, 6e-2)},
    108_544: {
        "LoRA": (2.5e-3, 5e-3, 1e-2, 2e-2),
        "rsLoRA": (1.2e-3, 2.5e-3, 5e-3, 1e-2),
        "DoRA": (2.5e-3, 5e-3, 1e-2, 2e-2),
        "PiSSA": (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
        "LoRA+": (6e-4, 1.2e-3, 2.5e-3, 5e-3),
        "parallel": (3e-3, 6e-3, 1.2e-2, 2.4e-2),
        "Houlsby": (2.5e-3, 5e-3, 1e-2, 2e-2),
        "prefix": (3e-2, 0.1, 0.3, 1.0),
    },
    13_568: {
        "LoRA": LORA,
        "LoRA, q v": LORA,
        "DoRA, q v": (1e-2, 2e-2, 4e-2, 8e-2),
        "VeRA": (3e-2, 0.1, 0.3),
        "BitFit": (0.1, 0.2, 0.4),
        "parallel": (3e-3, 1e-2, 3e-2),
        "prefix": WIDE,
    },
    2_560: {
        "LoRA, q v": (2e-2, 4e-2, 8e-2),
        "VeRA, q v": (3e-2, *WIDE),
        "(IA)3": (0.3, 0.6, 1.0),
        "norms": WIDE,
        "parallel": (1e-2, 3e-2, 0.1),
        "prefix": (*WIDE, 3.0),
        "prompt": (*WIDE, 3.0),
    },
}


def run(budget: int | None, method: str, rate: float, seed: int) -> dict:
    """One training: losses on validation, test and own texts, and how far the matrices moved."""
    bench = Bench(matched.TASK, seed=seed)
    kept = tasks.task(matched.TASK, seed=matched.VALIDATION + seed, batches=1, batch_size=BATCH)
    torch.manual_seed(seed)
    model = matched.adapted(method, budget)
    optimizer = matched.optimizer_of(method, model, rate)
    train(model, bench.task.train, steps=STEPS, learning_rate=rate, optimizer=optimizer, show=False)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    found = {"budget": budget, "method": method, "rate": rate, "seed": seed, "trained": trained}
    found |= {
        "validation": round(evaluate(model, kept.test) - kept.floor, 4),
        "learned": round(bench.learned(model), 4),
        "forgotten": round(evaluate(model, bench.own) - bench.own_floor, 4),
    }
    return found | {"size": moved(model, method)}


def moved(model: nn.Module, method: str) -> float | None:
    """The size of the update, or None for a method that has none."""
    try:
        return round(update_size(model, method), 4)
    except NotMergeable:
        return None


def wanted() -> Iterator[dict]:
    """What is asked of each run; the runs of seed 0 decide what is asked of the others."""
    points = [(b, m) for b, methods in RATES.items() for m in methods]
    for budget, method in points:
        for rate in RATES[budget][method]:
            yield {"budget": budget, "method": method, "rate": rate, "seed": matched.SEEDS[0]}
    for seed in matched.SEEDS[1:]:
        for budget, method in points:
            rate = matched.chosen_rate(budget, method)
            yield {"budget": budget, "method": method, "rate": rate, "seed": seed}


def main() -> None:
    """Run what is missing."""
    fill(PATH, wanted(), run, {"steps": STEPS, "batch_size": BATCH})


if __name__ == "__main__":
    main()
