"""What (IA)^3, BitFit and the last blocks learn of the chef's task and forget, by learning rate.

    python scripts/sweep_selective.py        # about eight minutes of CPU

writes minipeft/course/data/selective.json, which lesson 08 draws beside the baselines that
`sweep.py` recorded under the same conditions: 120 steps of 8 texts, three seeds. "lora, 2,560" is a
LoRA of rank 1 on queries and values, which trains as many numbers as (IA)^3 does on this base.
"""

import itertools
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from minipeft import get_peft_model  # noqa: E402
from minipeft.course import evaluate, train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.lessons.merging import Bench  # noqa: E402
from minipeft.course.lessons.selective import METHODS  # noqa: E402
from scripts.sweep import BATCH, STEPS, fill, update_size  # noqa: E402

TASK = "instruction"
SEEDS = (0, 1, 2)
RATES = {
    "ia3": (3e-2, 1e-1, 3e-1, 1.0),
    "bitfit": (1e-1, 3e-1, 1.0),
    "lora, 2,560": (1e-2, 3e-2, 1e-1),
    "last 2 blocks": (1e-3, 3e-3, 1e-2),
}


def run(method: str, rate: float, seed: int) -> dict:
    """One training: what was learned, what was forgotten, how far the matrices moved."""
    bench = Bench(TASK, seed=seed)
    torch.manual_seed(seed)
    model = get_peft_model(load_base()[0], METHODS[method])
    train(model, bench.task.train, steps=STEPS, learning_rate=rate, show=False)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    found = {"task": TASK, "method": method, "rate": rate, "seed": seed, "trained": trained}
    found |= {
        "loss": round(evaluate(model, bench.task.test), 4),
        "floor": round(bench.task.floor, 4),
        "own_loss": round(evaluate(model, bench.own), 4),
        "own_floor": round(bench.own_floor, 4),
    }
    return found | {"size": round(update_size(model, method), 4)}


def wanted() -> list[dict]:
    """What is asked of each run."""
    points = [(method, rate) for method in RATES for rate in RATES[method]]
    return [
        {"method": method, "rate": rate, "seed": seed}
        for seed, (method, rate) in itertools.product(SEEDS, points)
    ]


def main() -> None:
    """Run what is missing."""
    path = Path(str(DATA)) / "selective.json"
    fill(path, wanted(), run, {"steps": STEPS, "batch_size": BATCH})


if __name__ == "__main__":
    main()
