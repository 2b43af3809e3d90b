"""Training from random weights: all numbers, or LoRA beside random weights that stay.

    python scripts/sweep_scratch.py        # about four minutes of CPU

writes minipeft/course/data/from_scratch.json, which lesson 01 reads. The model has the base's
architecture and random weights; it reads 120 batches of 8 texts of the base's own world, as long as
the lessons fine-tune, where the base was pretrained on 2,800 batches of 128. The learning rate is
tuned for each method. Losses are in nats per token, on texts of that world never seen.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from minipeft import LoraConfig, get_peft_model  # noqa: E402
from minipeft.course import evaluate, train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.batches import floor, make_batches  # noqa: E402
from minipeft.course.world import World  # noqa: E402
from minipeft.models.llama import Llama  # noqa: E402
from scripts.sweep import fill  # noqa: E402

STEPS, BATCH, SEEDS = 120, 8, (0, 1, 2)
RATES = {"full": (1e-3, 3e-3, 1e-2), "lora": (1e-3, 3e-3, 1e-2)}


def run(method: str, rate: float, seed: int) -> dict:
    """One training from random weights."""
    torch.manual_seed(seed)
    pretrained, tokenizer = load_base()
    model = Llama(pretrained.config)
    if method == "lora":
        config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
        model = get_peft_model(model, config)
    texts = World(seed=0).documents(STEPS * BATCH, seed=seed)
    train(model, make_batches(tokenizer, texts, BATCH), STEPS, learning_rate=rate, show=False)
    unseen = World(seed=0).documents(128, seed=10**9)
    own = make_batches(tokenizer, unseen, batch_size=BATCH)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {
        "method": method,
        "rate": rate,
        "seed": seed,
        "trained": trained,
        "loss": round(evaluate(model, own), 4),
        "floor": round(floor(unseen, own), 4),
    }


def wanted() -> list[dict]:
    """What is asked of each run."""
    points = [(method, rate) for method in RATES for rate in RATES[method]]
    return [{"method": m, "rate": rate, "seed": seed} for seed in SEEDS for m, rate in points]


def main() -> None:
    """Run what is missing."""
    path = Path(str(DATA)) / "from_scratch.json"
    fill(path, wanted(), run, {"steps": STEPS, "batch_size": BATCH})


if __name__ == "__main__":
    main()
