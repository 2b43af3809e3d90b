"""What a weighted sum of two adapters knows, beside one adapter that was trained on both tasks.

    python scripts/weighing.py              # about ten minutes of CPU

writes minipeft/course/data/weighing.json, which lesson 13 draws; it repeats one point live. Every
adapter is a LoRA trained for 120 steps of 8 texts of one task, as in scripts/sweep.py; the one for
both tasks is trained on the same texts of both, 240 steps in turn. A seed decides the task's draw
and the adapter's start. Losses are (first task, second task, own world) in nats per token above
the floor; `cosine` is that of the two updates over all matrices, `size` each ||W - W0|| / ||W0||.
"""

import itertools
import json
import math
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft import LoraConfig, PeftModel, get_peft_model  # noqa: E402
from minipeft.core.disk import atomic_write  # noqa: E402
from minipeft.course import train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.batches import Batch  # noqa: E402
from minipeft.course.lessons.merging import Bench, flat, size, updates_of  # noqa: E402

TASKS, STEPS, SEEDS, RATES = ("instruction", "operation", "facts"), 120, (0, 1, 2), (1e-3, 3e-3)
LORA = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
PAIRS = (("instruction", "operation"), ("instruction", "facts"))


def start_of(name: str, seed: int) -> int:
    """The seed of an adapter's start: adapters that start alike would have one A in common."""
    return 10 * seed + (*TASKS, "both").index(name)


def adapter(model: PeftModel | None, name: str, batches: list[Batch], seed: int, rate: float):
    """The model with one more adapter, of a start of its own, trained on these batches once."""
    torch.manual_seed(start_of(name, seed))
    if model is None:
        model = get_peft_model(load_base()[0], LoraConfig(**LORA), name)
    else:
        model.add_adapter(name, LoraConfig(**LORA))
    model.set_adapter(name)
    train(model, batches, steps=len(batches), learning_rate=rate, show=False)
    return model


def recorded_runs(seed: int, rate: float, pairs=PAIRS, steps: int = STEPS) -> list[dict]:
    """Every pair at one learning rate and seed."""
    benches = {name: Bench(name, seed, test_batches=8, texts=64) for name in TASKS}
    model, D = None, {}
    for name in dict.fromkeys(itertools.chain(*pairs)):
        model = adapter(model, name, benches[name].task.train[:steps], seed, rate)
        D[name] = updates_of(model)
    found = []
    for pair in pairs:
        first, second = (benches[name] for name in pair)
        in_turn = zip(first.task.train[:steps], second.task.train[:steps], strict=True)
        adapter(model, "both", list(itertools.chain(*in_turn)), seed, rate)
        updates = {"first alone": D[pair[0]], "second alone": D[pair[1]]}
        updates["trained on both"] = updates_of(model)
        model.set_adapter(pair[0])
        model.delete_adapter("both")
        found.append(measured(model, pair, updates, first, second) | {"seed": seed, "rate": rate})
    return found


@torch.no_grad()
def measured(
    model: PeftModel, pair: tuple[str, str], updates: dict, first: Bench, second: Bench
) -> dict:
    """What each way of having two adapters knows of two tasks and of the base's own world."""
    one, other = updates["first alone"], updates["second alone"]
    updates["sum"] = {path: one[path] + other[path] for path in one}
    updates["mean"] = {path: update / 2 for path, update in updates["sum"].items()}
    for kind in ("svd", "linear"):
        model.add_weighted_adapter(list(pair), [1.0, 1.0], kind, combination_type=kind)
        model.set_adapter(kind)
        updates[kind] = updates_of(model)
        model.set_adapter(pair[0])
        model.delete_adapter(kind)
    losses = {}
    for way, update in updates.items():
        network = first.put({path: first.W0[path] + update[path] for path in update})
        learned, own = first.losses(network)
        losses[way] = [round(x, 4) for x in (learned, second.learned(network), own)]
    together = (size(one) * size(other)) or math.nan
    return {
        "pair": list(pair),
        "losses": losses,
        "cosine": round(float(flat(one) @ flat(other)) / together, 4),
        "size": [round(size(update) / size(first.W0), 4) for update in (one, other)],
    }


def main() -> None:
    """Run all of it, and write the file after each seed and rate: a stopped recording goes on."""
    torch.set_num_threads(1)
    path = Path(str(DATA)) / "weighing.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    for seed, rate in itertools.product(SEEDS, RATES):
        if (seed, rate) in {(run["seed"], run["rate"]) for run in runs}:
            continue
        runs += recorded_runs(seed, rate)
        print(*runs[-len(PAIRS) :], sep="\n", flush=True)
        lines = ",\n  ".join(json.dumps(run) for run in runs)
        atomic_write(path, f'{{"runs": [\n  {lines}\n]}}\n'.encode())


if __name__ == "__main__":
    main()
