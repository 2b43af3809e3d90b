"""Entries of adapter golf: what the files of a few methods score.

    python scripts/sweep_golf.py       # about six minutes of CPU

writes minipeft/course/data/golf.json, which lesson 18 draws; it repeats one entry live. Every run
is 120 steps of 8 texts, as in scripts/sweep.py; a seed decides the training texts and the adapter's
start. `validation` is the loss above the floor on the task's own test set, by which a rate is
chosen: among the runs of seed 0 alone. Everything else is the score card of the file that the run
wrote, whose texts are drawn anew for each file.
"""

import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft import (  # noqa: E402
    IA3Config,
    LoraConfig,
    PartialConfig,
    PeftConfig,
    VeraConfig,
    get_peft_model,
)
from minipeft.course import evaluate, train  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.golf import HOLES, hand_in  # noqa: E402
from minipeft.course.lessons.recorded import validated_rate  # noqa: E402
from minipeft.course.tasks import task  # noqa: E402
from scripts.sweep import BATCH, SEEDS, STEPS, fill  # noqa: E402

ALL = "all-linear"
LATE = r"model\.layers\.[23]\..*_proj"  # all linear layers of the last two blocks


def lora(r: int, targets: str = ALL) -> LoraConfig:
    """LoRA with alpha = 2 r."""
    return LoraConfig(r=r, lora_alpha=2 * r, target_modules=targets)


ENTRIES: dict[str, tuple[PeftConfig, tuple[float, ...]]] = {
    "LoRA, r = 8": (lora(8), (1e-2,)),  # the best of its rates in scripts/sweep.py
    "LoRA, r = 2": (lora(2), (1e-2, 3e-2)),
    "LoRA, r = 1": (lora(1), (1e-2, 3e-2)),
    "LoRA, r = 1, last two": (lora(1, LATE), (1e-2, 3e-2)),
    "VeRA, r = 64": (
        VeraConfig(r=64, target_modules=ALL, save_projection=False),
        (3e-2, 1e-1, 3e-1),
    ),
    "(IA)3": (IA3Config(), (3e-1,)),  # the best of its rates in scripts/sweep_selective.py
    "norms": (PartialConfig(norms=True), (3e-1,)),  # the best of its rates in scripts/sweep.py
    "last norm": (PartialConfig(modules_to_save=["model.norm"]), (1e-1, 3e-1, 1.0)),
}
ON = {  # which entries are played on which hole
    "chef": tuple(ENTRIES),
    "sailor": ("LoRA, r = 8",),
    "larger": ("LoRA, r = 8",),
}


def run(hole: str, entry: str, rate: float, seed: int) -> dict:
    """Train one entry, write its file, and score the file."""
    torch.manual_seed(seed)
    model = get_peft_model(load_base()[0], ENTRIES[entry][0])
    new = task(HOLES[hole].task, seed=seed, batch_size=BATCH)
    train(model, new.train, steps=STEPS, learning_rate=rate, show=False)
    with tempfile.TemporaryDirectory() as folder:
        card = hand_in(model, HOLES[hole], entry, folder)
    found = {"hole": hole, "entry": entry, "rate": rate, "seed": seed}
    found |= {"numbers": card.numbers, "bytes": card.bytes, "flops": card.flops}
    found["validation"] = round(evaluate(model, new.test) - new.floor, 4)
    return found | {"above": round(card.above, 4), "own": round(card.own, 4)}


def main() -> None:
    """Run what is missing: all rates of an entry with seed 0, then the best one with the others."""
    path, about = Path(str(DATA)) / "golf.json", {"steps": STEPS, "batch_size": BATCH}
    for hole, entries in ON.items():
        for entry in entries:
            rates = ENTRIES[entry][1]
            same = {"hole": hole, "entry": entry}
            tried = [same | {"rate": rate, "seed": 0} for rate in rates]
            done = fill(path, tried, run, about)
            best = validated_rate([made for made in done if same.items() <= made.items()])
            fill(path, [same | {"rate": best, "seed": seed} for seed in SEEDS], run, about)


if __name__ == "__main__":
    main()
