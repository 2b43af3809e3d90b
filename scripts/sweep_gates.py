"""Diff pruning on the base: which gates stay open, and what 0.5% of the entries can do.

    python scripts/sweep_gates.py        # about ten minutes of CPU

writes minipeft/course/data/gates.json, which lesson 08 draws. Two ways choose 0.5% of the entries
of all linear layers: "gates" trains differences and their gates for 80 steps and keeps the largest
entries; "random" draws them, and starts them at zero. Then these entries alone are trained on the
chef for 60 steps of 8 texts, at each of three rates.
"""

import copy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from minipeft import DiffPruningConfig, PeftModel, get_peft_model, prune  # noqa: E402
from minipeft.course import train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.lessons.merging import Bench  # noqa: E402
from scripts.sweep import BATCH, fill  # noqa: E402

SEEDS = (0, 1, 2)
CHOSEN_BY = ("gates", "random")
RATES = (1e-1, 2e-1, 4e-1)  # of the entries that are kept
STEPS, AFTER, EVERY = 80, 60, 10  # of the choice, of the training after it, of the record
PENALTY, RATE, GATE_RATE, KEEP = 1e-5, 1e-3, 0.1, 0.005


def adapted() -> PeftModel:
    """The base with a gated difference on each linear layer."""
    config = DiffPruningConfig(target_modules="all-linear", sparsity_penalty=PENALTY)
    return get_peft_model(load_base()[0], config)


def optimizer(model: PeftModel) -> torch.optim.Optimizer:
    """Adam with a rate for the differences and a larger one for the gates."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups = [
        {"params": [p for name, p in trained.items() if "gates" not in name], "lr": RATE},
        {"params": [p for name, p in trained.items() if "gates" in name], "lr": GATE_RATE},
    ]
    return torch.optim.AdamW(groups, weight_decay=0.0)


@torch.no_grad()
def open_share(model: PeftModel) -> dict[str, float]:
    """The share of the gates of each kind of matrix that are open, as they are used: no noise."""
    found: dict[str, list[float]] = {}
    for path, tuner in model.adapters["default"].tuners.items():
        z = tuner.gates[0](noisy=False) * tuner.gates[1](noisy=False)  # (out, in)
        found.setdefault(path.rpartition(".")[2], []).append((z > 0).float().mean().item())
    return {kind: round(sum(shares) / len(shares), 4) for kind, shares in found.items()}


@torch.no_grad()
def choose_at_random(model: PeftModel) -> int:
    """Keep as many entries as the others, in places that the seed draws; they start at zero."""
    for tuner in model.adapters["default"].tuners.values():
        tuner.w.normal_()  # prune() keeps the largest of these
    kept = prune(model.adapters["default"], KEEP)
    for tuner in model.adapters["default"].tuners.values():
        tuner.values.zero_()
    return kept


def choose(model: PeftModel, batches: list) -> list[dict[str, float]]:
    """Train differences and gates for STEPS steps; what was open, every EVERY steps."""
    shares, held = [open_share(model)], optimizer(model)
    for begin in range(0, STEPS, EVERY):
        some, warmup = batches[begin : begin + EVERY], EVERY if begin == 0 else 1
        train(model, some, EVERY, optimizer=held, warmup=warmup, decay=False, show=False)
        shares.append(open_share(model))
    return shares


def run(chosen_by: str, seed: int) -> dict:
    """One choice of entries, and their training; losses (new task, own world) above the floors."""
    bench = Bench("instruction", seed=seed)
    torch.manual_seed(seed)
    model, batches = adapted(), bench.task.train
    found: dict = {"chosen_by": chosen_by, "seed": seed}
    if chosen_by == "random":
        found["kept"] = choose_at_random(model)
    else:
        shares = choose(model, batches)
        found["open"] = {kind: [share[kind] for share in shares] for kind in shares[0]}
        found["before"] = [round(loss, 4) for loss in bench.losses(model)]
        found["kept"] = prune(model.adapters["default"], KEEP)
        found["pruned"] = [round(loss, 4) for loss in bench.losses(model)]
    start = copy.deepcopy(model.state_dict())
    for rate in RATES:
        model.load_state_dict(start)
        train(model, batches[STEPS : STEPS + AFTER], AFTER, learning_rate=rate, show=False)
        found[f"after, {rate:g}"] = [round(loss, 4) for loss in bench.losses(model)]
    return found


def wanted() -> list[dict]:
    """What is asked of each run."""
    return [{"chosen_by": how, "seed": seed} for seed in SEEDS for how in CHOSEN_BY]


def main() -> None:
    """Run what is missing."""
    about = {
        "steps": STEPS,
        "after": AFTER,
        "batch_size": BATCH,
        "every": EVERY,
        "keep": KEEP,
        "penalty": PENALTY,
    }
    fill(Path(str(DATA)) / "gates.json", wanted(), run, about | {"rates": list(RATES)})


if __name__ == "__main__":
    main()
