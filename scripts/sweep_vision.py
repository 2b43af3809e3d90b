"""What four methods learn of new digits and forget of the old ones, by rate and number of images.

    python scripts/sweep_vision.py         # about ten minutes of CPU

writes minipeft/course/data/vision.json, which lesson 16 draws; it repeats one point live. A seed
decides the split, the base's pretraining, the new head and the batches. "from scratch" is the
control: every number is trained, and the body starts at random. Accuracies are shares of images,
losses are in nats. `size` is ||W - W0|| / ||W0|| over the body, 0 where nothing was pretrained.
"""

import functools
import itertools
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft.course.base import DATA  # noqa: E402
from minipeft.course.lessons import digits  # noqa: E402
from scripts.sweep import fill  # noqa: E402

SEEDS = (0, 1, 2)
COUNTS = (5, 20, 80)
RATES = {
    "full": (3e-4, 1e-3, 3e-3, 1e-2),
    "lora": (1e-3, 3e-3, 1e-2, 3e-2),
    "bitfit": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    "head": (1e-2, 3e-2, 1e-1, 3e-1, 1.0),
    "from scratch": (1e-3, 3e-3, 1e-2, 3e-2),
}
STEPS, BATCH = 100, 32


@functools.cache
def bases(seed: int):
    """(the split, its pretrained base) of one seed."""
    split = digits.Digits(seed)
    return split, digits.pretrained(split)


def run(method: str, count: int, rate: float, seed: int) -> dict:
    """One adaptation."""
    split, base = bases(seed)
    if method == "from scratch":
        model = digits.adapted(digits.fresh(digits.OLD, seed + 100), "full", seed)
    else:
        model = digits.adapted(base, method, seed)
    digits.fit(model, *split.few(count), rate=rate, seed=seed, steps=STEPS, batch=BATCH)
    scratch = method == "from scratch"
    return {
        "method": method,
        "count": count,
        "rate": rate,
        "seed": seed,
        "trained": digits.trained(model),
        "validation": round(digits.accuracy(model, *split.new_validation), 4),
        "new": round(digits.accuracy(model, *split.new_test), 4),
        "loss": round(digits.loss(model, *split.new_test), 4),
        "old": round(digits.old_accuracy(model, base.classifier, split), 4),
        "old_before": round(digits.accuracy(base, *split.old_test), 4),
        "size": 0.0 if scratch else round(digits.size(model, base), 4),
    }


def wanted() -> list[dict]:
    """What is asked of each run."""
    points = [(method, rate) for method in RATES for rate in RATES[method]]
    return [
        {"method": method, "count": count, "rate": rate, "seed": seed}
        for count, seed, (method, rate) in itertools.product((20, 80, 5), SEEDS, points)
    ]


def main() -> None:
    """Run what is missing."""
    path = Path(str(DATA)) / "vision.json"
    fill(path, wanted(), run, {"steps": STEPS, "batch_size": BATCH})


if __name__ == "__main__":
    main()
