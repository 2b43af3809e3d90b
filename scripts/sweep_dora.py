"""DoRA beside LoRA on one task: what each learns and forgets, by learning rate.

    python scripts/sweep_dora.py      # about six minutes of CPU

writes minipeft/course/data/dora.json, which lesson 06 draws beside the runs of `sweep.py`; it
repeats one of the points live. Each run is 120 steps of 8 of the chef's texts, as there. For DoRA,
and for LoRA and full fine-tuning at two rates each, a run also says how magnitude and direction of
each layer had moved after a fifth of the steps, two fifths, and so on (`moved`: of the query
matrices, by time and then by block), and how the two correlate, for each kind of matrix.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from minipeft import LoraConfig, get_peft_model  # noqa: E402
from minipeft.course import evaluate, tasks, train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.batches import floor, make_batches  # noqa: E402
from minipeft.course.lessons.magnitude import (  # noqa: E402
    Moved,
    correlation,
    moved_by_layer,
    weights_in_force,
)
from minipeft.course.world import World  # noqa: E402
from scripts.sweep import BATCH, STEPS, fill, update_size  # noqa: E402

SEEDS = (0, 1, 2)
RATES = {
    "dora": (3e-3, 1e-2, 3e-2),
    "lora, r = 1": (3e-3, 1e-2, 3e-2),
    "dora, r = 1": (3e-3, 1e-2, 3e-2, 1e-1),
}
WATCHED = {"full": (5e-4, 2e-3), "lora": (3e-3, 1e-2), "dora": RATES["dora"]}
KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def config_of(method: str) -> LoraConfig | None:
    """The adapter of a method; None is full fine-tuning."""
    if method == "full":
        return None
    r = 1 if "r = 1" in method else 8
    use_dora = method.startswith("dora")
    return LoraConfig(r=r, lora_alpha=2 * r, use_dora=use_dora, target_modules="all-linear")


def run(method: str, rate: float, seed: int) -> dict:
    """One training: what was learned, what was forgotten, how far the weights moved."""
    torch.manual_seed(seed)
    base, tokenizer = load_base()
    W0, config = weights_in_force(base), config_of(method)
    model = get_peft_model(base, config) if config else base
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer, seen = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0), []

    def watch(optimizer, *_):
        watch.step += 1
        if rate in WATCHED.get(method, ()) and watch.step % max(STEPS // 5, 1) == 0:
            seen.append(moved_by_layer(W0, weights_in_force(model)))

    watch.step = 0
    optimizer.register_step_post_hook(watch)
    chef = tasks.task("instruction", seed=seed, batch_size=BATCH)
    train(model, chef.train, steps=STEPS, optimizer=optimizer, show=False)
    texts = World(seed=0).documents(128, seed=10**9)
    own = make_batches(tokenizer, texts, batch_size=BATCH)
    found = {
        "method": method,
        "rate": rate,
        "seed": seed,
        "trained": sum(p.numel() for p in trained),
        "loss": round(evaluate(model, chef.test), 4),
        "floor": round(chef.floor, 4),
        "own_loss": round(evaluate(model, own), 4),
        "own_floor": round(floor(texts, own), 4),
    }
    return found | {"size": round(update_size(model, method), 4)} | in_numbers(seen)


def in_numbers(seen: list[dict[str, Moved]]) -> dict:
    """What was watched, as the file holds it: nothing where nothing was."""
    if len(seen) < 2:
        return {}

    def of(kind: str) -> list[Moved]:
        return [m for layers in seen for path, m in layers.items() if path.endswith(kind)]

    points = [[round(m.magnitude, 5), round(m.direction, 6)] for m in of("q_proj")]
    return {"correlation": {k: round(correlation(of(k)), 3) for k in KINDS}, "moved": points}


def wanted() -> list[dict]:
    """What is asked of each run."""
    points = [(m, rate) for m, rates in (WATCHED | RATES).items() for rate in rates]
    return [{"method": m, "rate": rate, "seed": s} for s in SEEDS for m, rate in points]


def main() -> None:
    """Run what is missing."""
    fill(Path(str(DATA)) / "dora.json", wanted(), run, {"steps": STEPS, "batch_size": BATCH})


if __name__ == "__main__":
    main()
