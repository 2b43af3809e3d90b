"""What d trained numbers in a random subspace learn of the chef's task, by learning rate.

    python scripts/sweep_subspace.py        # about six minutes of CPU

writes minipeft/course/data/subspace.json, which lesson 02 reads beside the runs of LoRA under the
same conditions: 120 steps of 8 texts, three seeds. The last two numbers of dimensions are those
that LoRA trains with r = 1 and r = 8. The seed draws the subspace and the task.
"""

import itertools
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft.course import evaluate, train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.lessons.merging import Bench  # noqa: E402
from minipeft.course.lessons.subspace import Subspace  # noqa: E402
from scripts.sweep import BATCH, STEPS, fill  # noqa: E402

TASK = "instruction"
SEEDS = (0, 1, 2)
RATES = {
    100: (3e-3, 1e-2, 3e-2),
    1_000: (3e-3, 1e-2, 3e-2),
    13_568: (3e-3, 1e-2, 3e-2),
    108_544: (1e-3, 3e-3, 1e-2),
}


def run(d: int, rate: float, seed: int) -> dict:
    """One training: what was learned, what was forgotten, how far the matrices moved."""
    bench = Bench(TASK, seed=seed)
    model = Subspace(load_base()[0], d, seed=seed)
    train(model, bench.task.train, steps=STEPS, learning_rate=rate, show=False)
    found = {"task": TASK, "method": "subspace", "d": d, "rate": rate, "seed": seed, "trained": d}
    return found | {
        "loss": round(evaluate(model, bench.task.test), 4),
        "floor": round(bench.task.floor, 4),
        "own_loss": round(evaluate(model, bench.own), 4),
        "own_floor": round(bench.own_floor, 4),
        "size": round(model.size(), 4),
    }


def wanted() -> list[dict]:
    """What is asked of each run."""
    points = [(d, rate) for d in RATES for rate in RATES[d]]
    return [
        {"d": d, "rate": rate, "seed": seed} for seed, (d, rate) in itertools.product(SEEDS, points)
    ]


def main() -> None:
    """Run what is missing."""
    path = Path(str(DATA)) / "subspace.json"
    fill(path, wanted(), run, {"steps": STEPS, "batch_size": BATCH})


if __name__ == "__main__":
    main()
