"""LoRA beside full fine-tuning on the downstream tasks, at the same number of steps.

    python benchmarks/downstream.py                      # LoRA for 20 s, then as many full steps
    python benchmarks/downstream.py --steps 100 --tasks pirate facts --out figures.json

Each method gets the best of its learning rates. The gap is how far LoRA's test loss lies above
that of full fine-tuning, in percent.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from minipeft import LoraConfig, get_peft_model
from minipeft.core.disk import atomic_write
from minipeft.course.base import load_base
from minipeft.course.lab.train import evaluate, train
from minipeft.course.tasks import TASKS, Task, task
from minipeft.models.llama import generate

RATES = {"full": (1e-3, 2e-3), "lora": (5e-3, 1e-2, 2e-2)}


def prepared(method: str, rank: int):
    """A fresh base, with LoRA on all linear layers or with everything trainable."""
    torch.manual_seed(0)
    model, tokenizer = load_base()
    if method == "lora":
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
        model = get_peft_model(model, config)
    return model, tokenizer


def best_of(method: str, todo: Task, rank: int, steps: int | None, seconds: float | None) -> dict:
    """Train once for each learning rate; the run with the least test loss."""
    results = []
    for rate in RATES[method]:
        model, tokenizer = prepared(method, rank)
        history = train(
            model, todo.train, steps=steps, seconds=seconds, learning_rate=rate, show=False
        )
        results.append(
            {
                "learning_rate": rate,
                "steps": history.steps,
                "seconds": round(history.seconds, 1),
                "tokens_per_second": round(history.tokens / history.seconds),
                "loss": round(evaluate(model, todo.test), 4),
                "text": generate(model, tokenizer, todo.prompts[0], 60),
            }
        )
    return min(results, key=lambda result: result["loss"])


def compare(name: str, options: argparse.Namespace) -> dict:
    """One task: the base before, LoRA, and full fine-tuning for as many steps."""
    began = time.perf_counter()
    model, tokenizer = load_base()
    loaded = time.perf_counter() - began
    todo = task(name)
    seconds = None if options.steps else options.seconds
    lora = best_of("lora", todo, options.rank, options.steps, seconds)
    full = best_of("full", todo, options.rank, lora["steps"], None)
    return {
        "task": name,
        "floor": round(todo.floor, 4),
        "before": {
            "loss": round(evaluate(model, todo.test), 4),
            "text": generate(model, tokenizer, todo.prompts[0], 60),
            "seconds_to_load": round(loaded, 2),
        },
        "lora": lora,
        "full": full,
        "gap_percent": round(100 * (lora["loss"] / full["loss"] - 1), 1),
    }


def main() -> None:
    """Read the command line, compare, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0, help="of LoRA training")
    parser.add_argument("--steps", type=int, help="instead of seconds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = []
    for name in options.tasks:
        results.append(compare(name, options))
        print(json.dumps(results[-1], indent=2), flush=True)
    if options.out:
        atomic_write(options.out, (json.dumps(results, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
