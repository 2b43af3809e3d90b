"""What lesson 15's methods cost on the course's base: memory, files, a step's and an answer's time.

Bytes are predicted and counted, and are the same on every machine. Times were measured by
`scripts/choosing_costs.py`: all methods take turns, and what is told is the median ratio to full
fine-tuning's step, or to the bare base's pass.
"""

import tempfile
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minipeft.budget import memory_budget
from minipeft.course.base import load_base
from minipeft.course.lessons import matched
from minipeft.course.lessons.recorded import recorded_runs

BATCH, LENGTH = 8, 48  # of the step that is budgeted and timed; the chef's texts are shorter
RATE = 1e-5  # of the timed steps, which are not to learn anything


@cache
def peak_bytes(method: str, budget: int | None = None) -> int:
    """The predicted peak of a training step in 32 bits with Adam, the base included."""
    config = matched.config_for(method, budget)
    return memory_budget(load_base()[0], config, batch=BATCH, length=LENGTH).peak_bytes


@cache
def file_bytes(method: str, budget: int | None = None) -> int:
    """What a task takes on disk: the adapter's folder; for full fine-tuning the base's numbers."""
    model = matched.adapted(method, budget)
    if matched.config_for(method, budget) is None:
        return sum(p.numel() * p.element_size() for p in model.parameters())
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))


class Step:
    """One training step, forward, backward and Adam, to be called as a model is."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.train()
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=RATE)

    @torch.enable_grad()
    def __call__(self, input_ids: Tensor) -> None:
        logits = self.model(input_ids)[:, -input_ids.shape[1] :]  # without a soft prompt's rows
        F.cross_entropy(logits.flatten(0, 1), input_ids.flatten()).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def every() -> dict[str, tuple[str, int | None]]:
    """{"a name": (method, budget)} of all that is compared."""
    found = {f"{m}, {b:,}": (m, b) for b, methods in matched.BUDGETS.items() for m in methods}
    return found | {name: (name, None) for name in matched.BESIDE}


def recorded_times(kind: str) -> dict[tuple[str, int | None], float]:
    """{(method, budget): the median ratio}; kind: "step" or "answer"."""
    return {
        (run["method"], run["budget"]): run["median"]
        for run in recorded_runs("choosing_costs")
        if run["kind"] == kind
    }
