"""What was recorded of LoRA on 32 and on 4 bits and of full fine-tuning, for lesson 11."""

from minipeft.course.lessons.recorded import (
    Tuned,
    by_rate,
    learning_and_forgetting,
    mean_of,
    recorded_runs,
)


def lora_full_and_qlora(task: str) -> dict[str, list[Tuned]]:
    """For each method its learning rates, ascending: "lora", "full", "qlora" and "loftq".

    The first two are those of `scripts/sweep.py`, the others of `scripts/sweep_qlora.py`: means
    over three seeds.
    """
    dense = learning_and_forgetting(task)
    found = {"lora": dense["lora"], "full": dense["full"]}
    runs = [run for run in recorded_runs("qlora") if run["task"] == task]
    found |= by_rate(runs, "method", mean_of)
    return {name: found[name] for name in ("lora", "full", "qlora", "loftq")}
