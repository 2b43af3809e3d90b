"""How long a training step and one answer take with each of lesson 15's methods.

    python scripts/choosing_costs.py         # about two minutes of CPU

writes minipeft/course/data/choosing_costs.json. One thread, float32; all methods take turns, and
what is written is the median and the quartiles of the ratios within a turn: of a step to full
fine-tuning's, and of a forward pass of one text of 64 tokens, unmerged, to the bare base's.
"""

import json
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft.core.disk import atomic_write  # noqa: E402
from minipeft.course.base import DATA, load_base  # noqa: E402
from minipeft.course.lessons import latency, matched  # noqa: E402
from minipeft.course.lessons.matched_costs import BATCH, LENGTH, Step, every  # noqa: E402
from scripts.latency import processor  # noqa: E402

ROUNDS = 21
ANSWER = 64  # tokens


def measured(kind: str, rounds: int = ROUNDS) -> list[dict]:
    """The ratios of one kind, "step" or "answer", for every method."""
    models = {name: matched.adapted(*point) for name, point in every().items()}
    if kind == "step":
        asked = {latency.BASE: Step(matched.adapted("full"))}
        asked |= {name: Step(model) for name, model in models.items()}
        shape = (BATCH, LENGTH)
    else:
        asked = {latency.BASE: load_base()[0].eval()}
        asked |= {name: model.eval() for name, model in models.items()}
        shape = (1, ANSWER)
    input_ids = torch.arange(shape[0] * shape[1]).view(shape) % 1024
    found = latency.slowdowns(asked, input_ids, rounds=rounds)
    return [
        {"kind": kind, "method": method, "budget": budget}
        | {key: round(getattr(found[name], key), 3) for key in ("low", "median", "high")}
        for name, (method, budget) in every().items()
    ]


def main() -> None:
    """Measure both kinds and write the file."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    runs = [*measured("step"), *measured("answer")]
    lines = ",\n  ".join(map(json.dumps, runs))
    about = json.dumps({"processor": processor(), "rounds": ROUNDS})[1:-1]
    text = f'{{{about}, "runs": [\n  {lines}\n]}}\n'
    atomic_write(Path(str(DATA)) / "choosing_costs.json", text.encode())
    print(text)


if __name__ == "__main__":
    main()
