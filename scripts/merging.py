"""What merges cost: QLoRA adapters merged into three bases, and updates cut to lower ranks.

    python scripts/merging.py              # about a quarter of an hour of CPU

writes minipeft/course/data/merging.json, which lesson 12 draws; it repeats one point of each kind
live. Every training is 120 steps of 8 texts of one task, as in scripts/sweep.py; a seed decides the
task's draw and the adapter's start. Losses are pairs (new task, own world), or the new task's alone
by rank, in nats per token above the floor; `size` and `error` are over all matrices together, as in
||W - W0|| / ||W0||.
"""

import itertools
import json
import math
import sys
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft import IA3Config, LoraConfig, get_peft_model, quantize_model  # noqa: E402
from minipeft.core.disk import atomic_write  # noqa: E402
from minipeft.course import train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.lessons.merging import (  # noqa: E402
    Bench,
    flat,
    landed,
    layers_of,
    matrices,
    size,
    stored,
    updates_of,
)

TASK, STEPS, SEEDS = "instruction", 120, (0, 1, 2)
LORA = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
ADAPTERS = {
    "dora": LoraConfig(use_dora=True, **LORA),
    "ia3": IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
}
RATES = {
    "qlora": (3e-4, 1e-3, 3e-3, 1e-2),
    "dora": (3e-3, 1e-2),
    "ia3": (3e-2, 1e-1),
    "full": (5e-4, 2e-3),
}
RANKS = (1, 2, 4, 8, 16, 64)


def bench_for(seed: int) -> Bench:
    """The task and the measures of one seed, which decides the adapter's start as well."""
    torch.manual_seed(seed)
    return Bench(TASK, seed)


def trained(bench: Bench, model: nn.Module, rate: float) -> nn.Module:
    """The model, trained on the task."""
    train(model, bench.task.train, steps=STEPS, learning_rate=rate, show=False)
    return model


def told(losses: tuple[float, float]) -> list[float]:
    """(new task, own world) as the file holds them."""
    return [round(loss, 4) for loss in losses]


def only_matrices_train(model: nn.Module) -> nn.Module:
    """The model with every matrix trained in full, and nothing else: no embedding, no norm."""
    model.requires_grad_(False)
    for path in matrices(model):
        model.get_submodule(path).weight.requires_grad_(True)
    return model


@torch.no_grad()
def merges(seed: int, rate: float) -> dict:
    """One QLoRA adapter, as it was trained and as four merges leave it."""
    bench = bench_for(seed)
    model = get_peft_model(quantize_model(load_base()[0], double_quant=False), LoraConfig(**LORA))
    with torch.enable_grad():
        trained(bench, model, rate)
    W0, D = bench.W0, updates_of(model)
    W4 = {path: layer.base_layer.dequantize() for path, layer in layers_of(model).items()}
    made = {
        "into W0": {n: stored(W0[n] + D[n], "bf16") for n in D},
        "dequantized": {n: stored(W4[n] + D[n], "bf16") for n in D},
        "re-quantized": {n: stored(W4[n] + D[n], "nf4") for n in D},
        "into W0, then 4 bits": {n: stored(W0[n] + D[n], "nf4") for n in D},
    }
    found = {"rate": rate, "seed": seed, "losses": {"as trained": told(bench.losses(model))}}
    for name, weights in made.items():
        found["losses"][name] = told(bench.losses(bench.put(weights)))
    share = landed(flat(D), flat({n: made["re-quantized"][n] - W4[n] for n in D}))
    return found | {
        "size": round(size(D) / size(W0), 4),
        "erased": round(share.erased, 4),
        "noise": round(share.noise, 4),
    }


@torch.no_grad()
def ranks(seed: int, method: str, rate: float) -> dict:
    """One update W' - W0, whole and cut to ranks: its error (Eckart-Young), the new task's loss."""
    bench, model = bench_for(seed), load_base()[0]
    with torch.enable_grad():
        if method == "full":
            trained(bench, only_matrices_train(model), rate)
        else:
            model = trained(bench, get_peft_model(model, ADAPTERS[method]), rate)
            model = model.merge_and_unload()
    D = {n: weight - bench.W0[n] for n, weight in matrices(model).items()}
    D = {n: change for n, change in D.items() if change.any()}
    svds = {n: torch.linalg.svd(change, full_matrices=False) for n, change in D.items()}
    found = {"method": method, "rate": rate, "seed": seed}
    found["size"] = round(size(D) / size(bench.W0), 4)
    found["whole"] = told(bench.losses(bench.put({n: bench.W0[n] + D[n] for n in D})))
    found["ranks"], found["error"], found["losses"] = list(RANKS), [], []
    for r in RANKS:
        cut = {n: (U[:, :r] * S[:r]) @ V[:r] for n, (U, S, V) in svds.items()}
        error = size({n: D[n] - cut[n] for n in D}) / size(D)
        loss = bench.learned(bench.put({n: bench.W0[n] + cut[n] for n in D}))
        found["error"].append(round(error, 4))
        found["losses"].append(round(loss, 4))
    return found


def main() -> None:
    """Run all of it, and write the file after each run: an interrupted recording goes on."""
    torch.set_num_threads(1)
    path = Path(str(DATA)) / "merging.json"
    done = json.loads(path.read_text()) if path.exists() else {"merges": [], "ranks": []}
    wanted = [("merges", s, "qlora", r) for s, r in itertools.product(SEEDS, RATES["qlora"])]
    for method in ("dora", "ia3", "full"):
        wanted += [("ranks", s, method, r) for s, r in itertools.product(SEEDS, RATES[method])]
    for kind, seed, method, rate in wanted:
        known = {(r.get("method", "qlora"), r["rate"], r["seed"]) for r in done[kind]}
        if (method, rate, seed) in known:
            continue
        run = merges(seed, rate) if kind == "merges" else ranks(seed, method, rate)
        assert math.isfinite(run["size"])
        done[kind].append(run)
        print(kind, run, flush=True)
        atomic_write(path, as_text(done).encode())


def as_text(done: dict[str, list[dict]]) -> str:
    """JSON with one line for each run."""
    parts = [
        f'"{kind}": [\n  ' + ",\n  ".join(json.dumps(run) for run in runs) + "\n]"
        for kind, runs in done.items()
    ]
    return "{" + ", ".join(parts) + "}\n"


if __name__ == "__main__":
    main()
