"""Loss over all tokens of a text, or over its answer alone: what is learned of the answer?

    python scripts/sweep_answers.py        # about four minutes of CPU

writes minipeft/course/data/loss_over_answers.json, which lesson 01 draws. Full fine-tuning on the
chef's texts: the same texts, steps and seeds; the learning rate is tuned for each. Every loss is
measured on the answers of the test set, whose floor is log 3: of an answer only "boil, bake or
fry" is a throw.
"""

import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from minipeft.course import evaluate, tasks, train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.batches import count_predictions, floor, make_batches  # noqa: E402
from minipeft.course.lessons.answers import marker_ids, only_answers  # noqa: E402
from minipeft.course.world import World  # noqa: E402
from scripts.sweep import BATCH, STEPS, fill  # noqa: E402

SEEDS = (0, 1, 2)
RATES = (5e-4, 2e-3, 5e-3, 1e-2)
COUNTED = ("all tokens", "the answer")


def run(counted: str, rate: float, seed: int) -> dict:
    """One training: the loss on the answers of the test set, and on the base's own world."""
    torch.manual_seed(seed)
    model, tokenizer = load_base()
    chef, marker = tasks.task("instruction", seed=seed, batch_size=BATCH), marker_ids(tokenizer)
    batches = chef.train
    if counted == "the answer":
        batches = [only_answers(batch, marker) for batch in batches]
    train(model, batches, steps=STEPS, learning_rate=rate, show=False)
    answers = [only_answers(batch, marker) for batch in chef.test]
    own_texts = World(seed=0).documents(128, seed=10**9)
    own = make_batches(tokenizer, own_texts, batch_size=BATCH)
    found = {"counted": counted, "rate": rate, "seed": seed}
    nats = len(chef.examples) * math.log(3)
    return found | {
        "loss": round(evaluate(model, answers), 4),
        "floor": round(nats / count_predictions(answers), 4),
        "own_loss": round(evaluate(model, own), 4),
        "own_floor": round(floor(own_texts, own), 4),
    }


def wanted() -> list[dict]:
    """What is asked of each run."""
    return [
        {"counted": counted, "rate": rate, "seed": seed}
        for seed in SEEDS
        for rate in RATES
        for counted in COUNTED
    ]


def main() -> None:
    """Run what is missing."""
    path = Path(str(DATA)) / "loss_over_answers.json"
    fill(path, wanted(), run, {"steps": STEPS, "batch_size": BATCH})


if __name__ == "__main__":
    main()
