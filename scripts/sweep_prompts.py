"""What soft prompts learn, by kind, start, learning rate and length; on two tasks.

    python scripts/sweep_prompts.py        # about fifteen minutes of CPU

writes minipeft/course/data/soft_prompts.json, which lesson 09 draws. Steps and batches are those of
scripts/sweep.py, whose baselines stand beside the chef's runs. "translator" is a kind of text that
the base knows, one in 25 of its world: there a prompt has to say no more than which kind it is.
Every rate runs with one seed at 10 virtual tokens, and the best one of each method with two more;
the lengths run with one seed, at that rate.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from minipeft.course import evaluate, tasks, train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.batches import count_predictions, floor, make_batches  # noqa: E402
from minipeft.course.lessons.baselines import baseline  # noqa: E402
from minipeft.course.lessons.prompts import soft_prompted, translations  # noqa: E402
from minipeft.course.world import World  # noqa: E402
from scripts.sweep import BATCH, SEEDS, STEPS, fill  # noqa: E402

N = 10
RATES = {
    "translator": {
        "prompt": (0.1, 0.3, 1.0),
        "prefix": (0.1, 0.3, 1.0),
        "prefix, zero": (0.1, 0.3, 1.0),
        "prefix, mlp": (1e-2, 3e-2, 0.1),
        "lora": (3e-4, 1e-3, 3e-3),
    },
    "instruction": {
        "prefix, zero": (0.3, 1.0, 3.0),
        "prompt": (0.1, 0.3, 1.0),
        "prefix": (0.1, 0.3, 1.0),
        "prefix, mlp": (1e-2, 3e-2, 0.1),
        "prompt, random": (0.3, 1.0, 3.0),
        "p-tuning": (1e-2, 3e-2, 0.1),
    },
}
BEST = {  # with the first seed
    "translator": {
        "prompt": 0.1,
        "prefix": 0.3,
        "prefix, zero": 0.3,
        "prefix, mlp": 3e-2,
        "lora": 1e-3,
    },
    "instruction": {
        "prefix, zero": 1.0,
        "prompt": 0.3,
        "prefix": 0.3,
        "prefix, mlp": 3e-2,
        "prompt, random": 1.0,
        "p-tuning": 3e-2,
    },
}
LENGTHS = {"prompt": (0.3, (1, 30)), "prefix": (0.3, (1, 30))}  # a rate, and its lengths


def run(task: str, method: str, n: int, rate: float, seed: int) -> dict:
    """One training: what was learned of the task, and the loss on the base's own world."""
    torch.manual_seed(seed)
    model = baseline("lora") if method == "lora" else soft_prompted(method, n)
    tokenizer = load_base()[1]
    if task == "translator":
        batches, test, least = translations(tokenizer, STEPS, seed)
    else:
        chef = tasks.task(task, seed=seed, batch_size=BATCH)
        batches, test, least = chef.train, chef.test, chef.floor
    train(model, batches, steps=STEPS, learning_rate=rate, show=False)
    texts = World(seed=0).documents(128, seed=10**9)
    own = make_batches(tokenizer, texts, batch_size=BATCH)
    return {
        "task": task,
        "method": method,
        "n": n,
        "rate": rate,
        "seed": seed,
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "loss": round(evaluate(model, test), 4),
        "floor": round(least, 4),
        "tokens": round(count_predictions(test) / sum(len(b.input_ids) for b in test), 4),
        "own_loss": round(evaluate(model, own), 4),
        "own_floor": round(floor(texts, own), 4),
    }


def wanted() -> list[dict]:
    """What is asked of each run: rates and lengths with one seed, the best rate with three."""
    points = [
        (task, method, N, rate, seed)
        for task, method in ((task, method) for task in RATES for method in RATES[task])
        for seed, rates in zip(SEEDS, rates_by_seed(task, method), strict=True)
        for rate in rates
    ]
    points += [
        ("instruction", method, n, rate, SEEDS[0])
        for method, (rate, lengths) in LENGTHS.items()
        for n in lengths
    ]
    names = ("task", "method", "n", "rate", "seed")
    return [dict(zip(names, point, strict=True)) for point in points]


def rates_by_seed(task: str, method: str) -> list[tuple[float, ...]]:
    """The rates to run with each of the seeds."""
    return [RATES[task][method], *[(BEST[task][method],)] * (len(SEEDS) - 1)]


def main() -> None:
    """Run what is missing."""
    path = Path(str(DATA)) / "soft_prompts.json"
    fill(path, wanted(), run, {"steps": STEPS, "batch_size": BATCH})


if __name__ == "__main__":
    main()
