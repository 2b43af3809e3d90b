"""What LoRA learns and forgets on a base of four bits, by learning rate, beside scripts/sweep.py.

    python scripts/sweep_qlora.py          # about half an hour of CPU

writes minipeft/course/data/qlora.json, which lesson 11 draws beside the runs of sweep.py: the same
task, steps, batches, seeds and rates. "qlora" is LoRA's usual start on NF4 with double
quantization, "loftq" is LoftQ's start on the same codes. `size` is the mean over the base's
matrices of ||W - W0|| / ||W0|| for the W that the model computes with, `update` that of the
adapter's own s B A.
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

from minipeft import LoraConfig, get_peft_model, quantize_model  # noqa: E402
from minipeft.core.disk import atomic_write  # noqa: E402
from minipeft.course import evaluate, train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.batches import floor, make_batches  # noqa: E402
from minipeft.course.lessons.loftq import start_by_loftq  # noqa: E402
from minipeft.course.tasks import task  # noqa: E402
from minipeft.course.world import World  # noqa: E402
from scripts.sweep import BATCH, RATES, SEEDS, STEPS  # noqa: E402

TASKS = ("instruction",)
METHODS = ("qlora", "loftq")


def matrices(model: nn.Module) -> dict[str, torch.Tensor]:
    """The base's weight matrices by name."""
    return {name: w.detach() for name, w in model.named_parameters() if w.ndim == 2}


def adapted(method: str) -> nn.Module:
    """A fresh base in four bits with LoRA on it."""
    base, _ = load_base()
    dense = {name.removesuffix(".weight"): w.clone() for name, w in matrices(base).items()}
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
    model = get_peft_model(quantize_model(base), config)
    if method == "loftq":
        start_by_loftq(model, {path: w for path, w in dense.items() if "_proj" in path})
    return model


@torch.no_grad()
def sizes(model: nn.Module) -> dict[str, float]:
    """`size` and `update`, see above; the embedding, which stays as it is, counts as a matrix."""
    moved, updated, dense = [], [], matrices(load_base()[0])
    for name, w in dense.items():
        layer = model.get_base_model().get_submodule(name.removesuffix(".weight"))
        if not hasattr(layer, "tuner"):
            moved.append(0.0), updated.append(0.0)
            continue
        A, B = layer.tuner.factors()
        moved.append(((layer.merged_tensors()[0] - w).norm() / w.norm()).item())
        updated.append(((B @ A).norm() / w.norm()).item())
    return {"size": statistics.mean(moved), "update": statistics.mean(updated)}


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
        "loss": evaluate(model, new.test),
        "floor": new.floor,
        "own_loss": evaluate(model, own),
        "own_floor": floor(texts, own),
    } | sizes(model)
    return {
        key: round(v, 4) if type(v) is float and key != "rate" else v for key, v in found.items()
    }


def main() -> None:
    """Run all of it, and write the file after each run: an interrupted sweep goes on."""
    torch.set_num_threads(1)
    path = Path(str(DATA)) / "qlora.json"
    done = json.loads(path.read_text())["runs"] if path.exists() else []
    known = {(r["task"], r["method"], r["rate"], r["seed"]) for r in done}
    for name, seed, method, rate in itertools.product(TASKS, SEEDS, METHODS, RATES["lora"]):
        if (name, method, rate, seed) in known:
            continue
        done.append(run(name, method, rate, seed))
        print(done[-1], flush=True)
        assert math.isfinite(done[-1]["loss"])
        lines = ",\n  ".join(json.dumps(entry) for entry in done)
        text = f'{{"steps": {STEPS}, "batch_size": {BATCH}, "runs": [\n  {lines}\n]}}\n'
        atomic_write(path, text.encode())


if __name__ == "__main__":
    main()
