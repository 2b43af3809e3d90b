"""What each method learns of a new task and forgets of its own world, by learning rate.

    python scripts/sweep.py                # about an hour of CPU

writes minipeft/course/data/learning_and_forgetting.json, which lessons draw; they repeat one of its
points live. Every run is 120 steps of 8 texts, as in the lessons; a seed decides the task's draw
and the adapter's start. All losses are in nats per token, `size` is the mean over the matrices of
||W - W0|| / ||W0||. Where the norms alone are trained no matrix moves: then each W is taken with
the norm before it, W diag(g), which is what the block multiplies by.
"""

import itertools
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft.core.disk import atomic_write  # noqa: E402
from minipeft.course import evaluate, tasks, train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.batches import floor, make_batches  # noqa: E402
from minipeft.course.lessons.baselines import baseline  # noqa: E402
from minipeft.course.world import World  # noqa: E402

TASKS = ("pirate", "instruction")
SEEDS = (0, 1, 2)
STEPS, BATCH = 120, 8
RATES = {
    "lora": (1e-3, 3e-3, 1e-2, 3e-2),
    "full": (2e-4, 5e-4, 2e-3, 5e-3),
    "last block": (1e-3, 3e-3, 1e-2, 3e-2),
    "head": (1e-2, 3e-2, 1e-1, 3e-1),
    "norms": (3e-2, 1e-1, 3e-1, 1.0),
}
FOLLOWING = {  # a norm's name, and those of the matrices that read what it gives
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}


@torch.no_grad()
def update_size(model: nn.Module, method: str) -> float:
    """Mean over the base's matrices of ||W - W0|| / ||W0||, an untied head included."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    (base, _), norms = load_base(), method == "norms"
    tuned, before = matrices(model, norms), matrices(base, norms)
    before |= dict.fromkeys(tuned.keys() - before.keys(), before["model.embed_tokens.weight"])
    sizes = [(w - before[name]).norm() / before[name].norm() for name, w in tuned.items()]
    return float(sum(sizes) / len(sizes))


def matrices(model: nn.Module, with_norms: bool) -> dict[str, torch.Tensor]:
    """Every matrix by its name, each once; `with_norms` times the scales of the norm before it."""
    found = {name: w for name, w in model.named_parameters() if w.ndim == 2}
    if with_norms:
        for path, layer in model.model.layers.named_children():
            for norm, followers in FOLLOWING.items():
                for name in followers:
                    scale = layer.get_submodule(norm).weight  # (d_in,)
                    found[f"model.layers.{path}.{name}.weight"] = (
                        layer.get_submodule(name).weight * scale
                    )
        found["lm_head.weight"] = model.lm_head.weight * model.model.norm.weight
    return found


def run(task: str, method: str, rate: float, seed: int) -> dict:
    """One training: what was learned, what was forgotten, how far the weights moved."""
    torch.manual_seed(seed)
    model = baseline(method)
    new = tasks.task(task, seed=seed, batch_size=BATCH)
    train(model, new.train, steps=STEPS, learning_rate=rate, show=False)
    texts = World(seed=0).documents(128, seed=10**9)
    own = make_batches(load_base()[1], texts, batch_size=BATCH)
    found = {
        "task": task,
        "method": method,
        "rate": rate,
        "seed": seed,
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "loss": round(evaluate(model, new.test), 4),
        "floor": round(new.floor, 4),
        "own_loss": round(evaluate(model, own), 4),
        "own_floor": round(floor(texts, own), 4),
    }
    return found | {"size": round(update_size(model, method), 4)}


def fill(path: Path, asked: Iterable[dict], make: Callable[..., dict], about: dict) -> list[dict]:
    """Make those of the runs asked for that the file lacks: an interrupted sweep goes on.

    Returns all runs. The file is written after each, with `about` beside them.
    """
    torch.set_num_threads(1)
    done = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    for settings in asked:
        if any(settings.items() <= known.items() for known in done):
            continue
        done.append(make(**settings))
        print(done[-1], flush=True)
        assert all(math.isfinite(v) for v in done[-1].values() if isinstance(v, float))
        lines = ",\n  ".join(json.dumps(entry) for entry in done)
        head = json.dumps(about)[1:-1]
        atomic_write(path, f'{{{head}, "runs": [\n  {lines}\n]}}\n'.encode())
    return done


def wanted() -> list[dict]:
    """What is asked of each run."""
    points = [(method, rate) for method in RATES for rate in RATES[method]]
    return [
        {"task": name, "method": method, "rate": rate, "seed": seed}
        for name, seed, (method, rate) in itertools.product(TASKS, SEEDS, points)
    ]


def main() -> None:
    """Run what is missing, and print the means over the seeds."""
    path = Path(str(DATA)) / "learning_and_forgetting.json"
    done = fill(path, wanted(), run, {"steps": STEPS, "batch_size": BATCH})
    for name, method in itertools.product(TASKS, RATES):
        for rate in RATES[method]:
            runs = [r for r in done if (r["task"], r["method"], r["rate"]) == (name, method, rate)]
            means = [statistics.mean(r[key] for r in runs) for key in ("loss", "own_loss", "size")]
            print(name, method, rate, *[f"{mean:.3f}" for mean in means])


if __name__ == "__main__":
    main()
