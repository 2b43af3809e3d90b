"""The frontier of learning and forgetting: full fine-tuning and LoRA of four ranks.

    python scripts/sweep_frontier.py        # about half an hour of CPU

writes minipeft/course/data/frontier.json, which lesson 14 draws beside runs of earlier sweeps under
the same conditions (DoRA, (IA)^3, the last block, LoRA of rank 8); it repeats one of the points
live. On the chef's task every run reads the same 960 texts once, whatever its batch size, and the
rate climbs for a twelfth of its steps: 120 steps of 8 texts, or 30 of 32. The table of 200 codes is
read 24 times, in batches of 10. Beside the losses a run records, by kind of matrix, the rank of the
update at 90% energy and the intruder dimensions.
"""

import sys
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from minipeft.course import evaluate, tasks, train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.batches import floor, make_batches  # noqa: E402
from minipeft.course.lessons.frontier import (  # noqa: E402
    PLACES,
    RANKS,
    TEXTS,
    fresh,
    merged,
    spectra,
)
from minipeft.course.lessons.merging import matrices  # noqa: E402
from minipeft.course.world import World  # noqa: E402
from scripts.sweep import SEEDS, fill, update_size  # noqa: E402

LORA = (2e-3, 4e-3, 8e-3, 1.6e-2)
RATES = {  # (task, texts in a batch, steps): the rates of each method
    ("instruction", 8, 120): {
        "full": (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3),
        **{f"lora, r = {r}": LORA for r in RANKS},
        **dict.fromkeys(PLACES, LORA[2:]),
    },
    ("instruction", 32, 30): {"full": (1e-3, 2e-3, 4e-3), "lora, r = 16": (8e-3, 1.6e-2, 3.2e-2)},
    ("memory", 10, 480): {
        "full": (5e-4, 1e-3, 2e-3),
        "lora, r = 1": (1e-3, 2e-3, 4e-3, 8e-3),
        "lora, r = 16": (2e-3, 4e-3, 8e-3),
    },
}


@lru_cache
def drawn(task: str, seed: int, batch: int) -> tasks.Task:
    """A task in batches of one size, drawn once for all runs that read the same texts."""
    return tasks.task(task, seed=seed, batches=TEXTS // batch, test_batches=16, batch_size=batch)


def run(task: str, method: str, rate: float, batch: int, steps: int, seed: int) -> dict:
    """One training: what was learned, what was forgotten, what became of the matrices."""
    torch.manual_seed(seed)
    model, (base, tokenizer) = fresh(method), load_base()
    new, validation = drawn(task, seed, 8), drawn(task, seed + 1000, 8)
    texts = drawn(task, seed, batch).train
    train(model, texts, steps=steps, learning_rate=rate, warmup=max(steps // 12, 1), show=False)
    unseen = World(seed=0).documents(128, seed=10**9)
    own = make_batches(tokenizer, unseen, batch_size=8)
    found = {
        "task": task,
        "method": method,
        "rate": rate,
        "batch": batch,
        "steps": steps,
        "seed": seed,
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "loss": round(evaluate(model, new.test), 4),
        "floor": round(new.floor, 4),
        "val_loss": round(evaluate(model, validation.test), 4),
        "val_floor": round(validation.floor, 4),
        "own_loss": round(evaluate(model, own), 4),
        "own_floor": round(floor(unseen, own), 4),
    }
    plain = merged(model)
    found["size"] = round(update_size(plain, method), 4)
    return found | spectra(matrices(base), matrices(plain))


def asked(task: str, batch: int, steps: int, rates: dict[str, tuple], seed: int) -> list[dict]:
    """One group of runs with one seed."""
    fixed = {"task": task, "batch": batch, "steps": steps, "seed": seed}
    points = [(method, rate) for method in rates for rate in rates[method]]
    return [fixed | {"method": method, "rate": rate} for method, rate in points]


def wanted() -> list[dict]:
    """What is asked of each run, seed by seed."""
    return [run for seed in SEEDS for group in RATES for run in asked(*group, RATES[group], seed)]


def main() -> None:
    """Run what is missing."""
    fill(Path(str(DATA)) / "frontier.json", wanted(), run, {"texts": TEXTS})


if __name__ == "__main__":
    main()
