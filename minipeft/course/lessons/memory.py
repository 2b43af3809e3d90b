"""What a training step takes, watched as it happens, and the budgets that lesson 05 draws."""

import gc
import os
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from minipeft.budget import MemoryBudget, memory_budget
from minipeft.methods.lora import LoraConfig

LORA = LoraConfig(r=16, target_modules="all-linear")
METHODS = {  # name -> (config, options of memory_budget)
    "full, 32 bits": (None, {"dtype": "float32"}),
    "full, 16 bits": (None, {"dtype": "bfloat16"}),
    "LoRA, 16 bits": (LORA, {"dtype": "bfloat16"}),
    "LoRA, 4 bits": (LORA, {"dtype": "bfloat16", "quantization": "nf4_double"}),
}


def allocations(phases: Mapping[str, Callable[[], object]]) -> dict[str, list[int]]:
    """The bytes of all tensors after each allocation and release, while some calls run in turn.

    Counted from where the first call begins, so that the last number is what all calls leave
    behind. PyTorch's profiler lists what the CPU's allocator does; temporaries inside operations
    are seen as well. What was there before and is released is not.

    Args:
        phases: {"name": call}, in the order in which they run.

    Returns:
        {"name": bytes at its begin and after each change}.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler tells of its own start and stop
    gc.collect()  # or the cycles that earlier code left may be released meanwhile
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        for name, call in phases.items():
            with record_function(name):
                call()
    events = watched.profiler.kineto_results.events()
    begins = [next(e.start_ns() for e in events if e.name() == name) for name in phases]
    names, now = list(phases), 0
    course: dict[str, list[int]] = {}
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    for at, change in sorted((at, change) for at, change in changes if at >= begins[0]):
        phase = names[bisect_right(begins, at) - 1]
        course.setdefault(phase, [now]).append(now + change)
        now += change  # below zero: a release
    return {name: course.get(name, [now]) for name in names}


def watch_step(model: nn.Module, tokens: Tensor) -> dict[str, list[int]]:
    """The bytes beyond the model and AdamW's means in the second step of a training, by phase.

    In the first step the optimizer makes its means. tokens: (batch, length), int64.
    """
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    there = {}

    def forward() -> None:
        there["logits"] = model(tokens).flatten(0, 1)  # (batch * length, vocabulary)

    def loss() -> None:
        there["loss"] = F.cross_entropy(there["logits"], tokens.flatten())

    def step() -> None:
        optimizer.step()
        optimizer.zero_grad()
        there.clear()

    phases = {
        "forward": forward,
        "loss": loss,
        "backward": lambda: there["loss"].backward(),
        "step": step,
    }
    for phase in phases.values():
        phase()
    return allocations(phases)


@cache
def will_it_fit(
    model: str, method: str, batch: int, length: int, checkpointing: bool
) -> MemoryBudget:
    """The budget of a published model under one training setup; `method` is one of METHODS."""
    config, options = METHODS[method]
    return memory_budget(
        model, config, batch=batch, length=length, checkpointing=checkpointing, **options
    )
