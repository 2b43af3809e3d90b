"""What each method learns of a new task and forgets of its own world, by learning rate.

    python scripts/sweep.py                # about half an hour of CPU

writes minipeft/course/data/learning_and_forgetting.json, which lessons draw; they repeat one of its
points live. Every run is 120 steps of 8 texts, as in the lessons; a seed decides the task's draw
and the adapter's start. All losses are in nats per token, `size` is the mean over the matrices of
||W - W0|| / ||W0||.
"""

import itertools
import json
import math
import statistics
import sys
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft import LoraConfig, PartialConfig, get_peft_model  # noqa: E402
from minipeft.core.disk import atomic_write  # noqa: E402
from minipeft.course import evaluate, train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.batches import floor, make_batches  # noqa: E402
from minipeft.course.tasks import task  # noqa: E402
from minipeft.course.world import World  # noqa: E402

TASKS = ("pirate", "instruction")
SEEDS = (0, 1, 2)
STEPS, BATCH = 120, 8
RATES = {
    "lora": (1e-3, 3e-3, 1e-2, 3e-2),
    "full": (2e-4, 5e-4, 2e-3, 5e-3),
    "last block": (1e-3, 3e-3, 1e-2, 3e-2),
}


def adapted(method: str) -> nn.Module:
    """A fresh base with this method on it."""
    model, _ = load_base()
    if method == "full":
        return model
    if method == "last block":
        return get_peft_model(model, PartialConfig(last_layers=1))
    return get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))


@torch.no_grad()
def update_size(model: nn.Module) -> float:
    """Mean over the base's matrices of ||W - W0|| / ||W0||."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    tuned, base = dict(model.named_parameters()), dict(load_base()[0].named_parameters())
    sizes = [(tuned[n] - w).norm() / w.norm() for n, w in base.items() if w.ndim == 2]
    return float(sum(sizes) / len(sizes))


def run(name: str, method: str, rate: float, seed: int) -> dict:
    """One training: what was learned, what was forgotten, how far the weights moved."""
    torch.manual_seed(seed)
    model = adapted(method)
    new = task(name, seed=seed, batch_size=BATCH)
    train(model, new.train, steps=STEPS, learning_rate=rate, show=False)
    texts = World(seed=0).documents(128, seed=10**9)
    own = make_batches(load_base()[1], texts, batch_size=BATCH)
    found = {
        "task": name,
        "method": method,
        "rate": rate,
        "seed": seed,
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "loss": round(evaluate(model, new.test), 4),
        "floor": round(new.floor, 4),
        "own_loss": round(evaluate(model, own), 4),
        "own_floor": round(floor(texts, own), 4),
    }
    return found | {"size": round(update_size(model), 4)}


def main() -> None:
    """Run all of it, and write the file after each run: an interrupted sweep goes on."""
    torch.set_num_threads(1)
    path = Path(str(DATA)) / "learning_and_forgetting.json"
    done = json.loads(path.read_text())["runs"] if path.exists() else []
    known = {(r["task"], r["method"], r["rate"], r["seed"]) for r in done}
    wanted = itertools.product(TASKS, SEEDS, [(m, r) for m in RATES for r in RATES[m]])
    for name, seed, (method, rate) in wanted:
        if (name, method, rate, seed) in known:
            continue
        done.append(run(name, method, rate, seed))
        print(done[-1], flush=True)
        assert math.isfinite(done[-1]["loss"])
        lines = ",\n  ".join(json.dumps(entry) for entry in done)
        text = f'{{"steps": {STEPS}, "batch_size": {BATCH}, "runs": [\n  {lines}\n]}}\n'
        atomic_write(path, text.encode())
    for name, method in itertools.product(TASKS, RATES):
        for rate in RATES[method]:
            runs = [r for r in done if (r["task"], r["method"], r["rate"]) == (name, method, rate)]
            means = [statistics.mean(r[key] for r in runs) for key in ("loss", "own_loss", "size")]
            print(name, method, rate, *[f"{mean:.3f}" for mean in means])


if __name__ == "__main__":
    main()
