"""What was recorded of LoRA on 32 and on 4 bits and of full fine-tuning, for lesson 11."""

import json
import statistics

from minipeft.course.base import DATA
from minipeft.course.lessons.recorded import Tuned, learning_and_forgetting


def lora_full_and_qlora(task: str) -> dict[str, list[Tuned]]:
    """For each method its learning rates, ascending: "lora", "full", "qlora" and "loftq".

    The first two are those of `scripts/sweep.py`, the others of `scripts/sweep_qlora.py`: means
    over three seeds.
    """
    dense = learning_and_forgetting(task)
    found = {"lora": dense["lora"], "full": dense["full"]}
    runs = json.loads((DATA / "qlora.json").read_text(encoding="utf-8"))["runs"]
    runs = [run for run in runs if run["task"] == task]
    for method, rate in sorted({(run["method"], run["rate"]) for run in runs}):
        same = [run for run in runs if (run["method"], run["rate"]) == (method, rate)]
        learned = [run["loss"] - run["floor"] for run in same]
        point = Tuned(
            method=method,
            rate=rate,
            trained=same[0]["trained"],
            learned=statistics.mean(learned),
            forgotten=statistics.mean(run["own_loss"] - run["own_floor"] for run in same),
            spread=(min(learned), max(learned)),
            size=statistics.mean(run["size"] for run in same),
        )
        found.setdefault(method, []).append(point)
    return {name: found[name] for name in ("lora", "full", "qlora", "loftq")}
