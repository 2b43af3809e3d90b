"""What lesson 07 measures of bottleneck adapters: what they add, how bent they are, their start.

An adapter adds c(z) = s up(act(down(z))) to h. Its best straight copy is the affine map of z that
lies nearest to c in the least-squares sense, and

    bend = ||c - copy|| / ||c - mean of c||

is what the copy misses: 0 for an adapter without a nonlinearity, at most 1 for any other. What
takes longer than a lesson is recorded; `scripts/sweep_adapters.py` made it.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from minipeft import BottleneckConfig, PeftModel, get_peft_model
from minipeft.core.errors import check_choice
from minipeft.course.base import load_base
from minipeft.course.batches import IGNORED, Batch
from minipeft.course.lessons.recorded import recorded_runs
from minipeft.methods.bottleneck import BottleneckLayer

# The width inside, by style: as many trained numbers as LoRA of rank 8 on all linear layers has
# (108,544), within a hundredth. "houlsby" has two adapters in a block, the others have one.
SIZES = {"houlsby": 35, "pfeiffer": 70, "parallel": 70}
STRAIGHT = ", straight"  # what a method is called whose nonlinearity was dropped
METHODS = (*SIZES, "parallel" + STRAIGHT)


def adapted(method: str) -> PeftModel:
    """A fresh base with bottleneck adapters of one of METHODS on it.

    Raises ValueError for any other name.
    """
    check_choice("method", method, list(METHODS))
    style = method.removesuffix(STRAIGHT)
    config = BottleneckConfig(style=style, bottleneck_size=SIZES[style])
    model = get_peft_model(load_base()[0], config)
    return straightened(model) if method.endswith(STRAIGHT) else model


def adapters_of(model: nn.Module) -> dict[str, BottleneckLayer]:
    """The bottleneck adapters of a model, by their path."""
    found = model.named_modules()
    return {path: module for path, module in found if isinstance(module, BottleneckLayer)}


def straightened(model: nn.Module) -> nn.Module:
    """The same model, in place, with act(v) = v in every adapter: down and up are left."""
    for adapter in adapters_of(model).values():
        adapter.act = nn.Identity()
    return model


@torch.no_grad()
def started_from(model: nn.Module, std: float) -> nn.Module:
    """The same model, in place, with both matrices of every adapter drawn with this spread.

    As Houlsby et al. 2019 start (section 3.6): a normal distribution, cut at two deviations.
    """
    for adapter in adapters_of(model).values():
        for matrix in (adapter.adapter_down.weight, adapter.adapter_up.weight):
            nn.init.trunc_normal_(matrix, std=std, a=-2 * std, b=2 * std)
    return model


@dataclass(frozen=True)
class Seen:
    """What one adapter did at each token that counts: rows of one token each.

    z: what it read (n, d). added: s up(act(down(z))) (n, d_out). h: what it was added to.
    """

    z: Tensor
    added: Tensor
    h: Tensor

    @property
    def relative(self) -> float:
        """||added|| / ||h||: the size of an adapter, which has no update of a matrix."""
        return float(self.added.norm() / self.h.norm())


@torch.no_grad()
def seen(model: nn.Module, batches: Sequence[Batch]) -> dict[str, Seen]:
    """What every adapter of a model reads and adds on these batches, padding left out."""
    parts: dict[str, list[tuple[Tensor, ...]]] = {path: [] for path in adapters_of(model)}
    hooks, reads = [], {}

    def read(path: str, module: nn.Module, given: tuple, gives: Tensor) -> None:
        reads[path] = given[0]

    def add(path: str, adapter: nn.Module, given: tuple, gives: Tensor) -> None:
        change = adapter.scaling * adapter.adapter_up(
            adapter.act(adapter.adapter_down(reads[path]))
        )
        counted = (batch.labels != IGNORED).flatten()
        rows = (part.flatten(0, 1)[counted] for part in (reads[path], change, gives - change))
        parts[path].append(tuple(rows))

    for path, adapter in adapters_of(model).items():
        hooks.append(adapter.adapter_down.register_forward_hook(partial(read, path)))
        hooks.append(adapter.register_forward_hook(partial(add, path)))
    try:
        for batch in batches:
            model(batch.input_ids)
    finally:
        for hook in hooks:
            hook.remove()
    return {path: Seen(*map(torch.cat, zip(*rows, strict=True))) for path, rows in parts.items()}


def straight_copy(z: Tensor, added: Tensor) -> nn.Linear:
    """The affine map z -> M z + b that is nearest to what was added, by least squares.

    z: (n, d) with n well above d. added: (n, d_out).
    """
    mean_z, mean = z.double().mean(0), added.double().mean(0)
    solved = torch.linalg.lstsq(z.double() - mean_z, added.double() - mean).solution  # (d, d_out)
    copy = nn.Linear(z.shape[1], added.shape[1])
    with torch.no_grad():
        copy.weight.copy_(solved.T)
        copy.bias.copy_(mean - mean_z @ solved)
    return copy.requires_grad_(False)


@torch.no_grad()
def bend(one: Seen) -> float:
    """What the best straight copy misses of one adapter, 0 to 1."""
    missed = one.added - straight_copy(one.z, one.added)(one.z)
    return float(missed.norm() / (one.added - one.added.mean(0)).norm())


def copied_straight(model: nn.Module, batches: Sequence[Batch]) -> nn.Module:
    """The same model, in place, with the best straight copy in the place of every adapter.

    batches: on which the copies are fitted, all from one run of the model as it is.
    """
    for path, one in seen(model, batches).items():
        adapter = adapters_of(model)[path]
        adapter.adapter_down = straight_copy(one.z, one.added / adapter.scaling)
        adapter.act, adapter.adapter_up = nn.Identity(), nn.Identity()
    return model


@dataclass(frozen=True)
class Learned:
    """One method at one learning rate after 120 steps of 8 texts: means over three seeds.

    learned, forgotten: loss of the new task, and on the base's own world, above their floors.
    spread: (smallest, largest) of `learned`.
    added: mean over the adapters of ||what it adds|| / ||what it is added to||, on the new task.
    bend: mean over the adapters. copied: `learned` with the straight copies in their place.
    """

    method: str
    rate: float
    trained: int
    learned: float
    forgotten: float
    spread: tuple[float, float]
    added: float
    bend: float
    copied: float

    def __str__(self) -> str:
        """A narrow line; losses are above the floors."""
        low, high = self.spread
        return (
            f"{self.method:<18} {self.rate:<6g} {self.trained:>7,}: task {self.learned:.2f} "
            f"({low:.2f}-{high:.2f}), own {self.forgotten:.1f}, adds {self.added:,.1f} h"
        )


def adapters_by_rate(task: str) -> dict[str, list[Learned]]:
    """What `scripts/sweep_adapters.py` found for a task: {method: its rates, ascending}.

    Raises ValueError for a task that was not swept.
    """
    runs = recorded_runs("adapters")
    check_choice("task", task, sorted({run["task"] for run in runs}))
    points: dict[tuple[str, float], list[dict]] = {}
    for run in runs:
        if run["task"] == task:
            points.setdefault((run["method"], run["rate"]), []).append(run)
    found: dict[str, list[Learned]] = {}
    for method, rate in sorted(points, key=lambda point: (METHODS.index(point[0]), point[1])):
        same = points[method, rate]
        learned = [run["loss"] - run["floor"] for run in same]
        found.setdefault(method, []).append(
            Learned(
                method=method,
                rate=rate,
                trained=same[0]["trained"],
                learned=statistics.mean(learned),
                forgotten=statistics.mean(run["own_loss"] - run["own_floor"] for run in same),
                spread=(min(learned), max(learned)),
                added=statistics.mean(run["added"] for run in same),
                bend=statistics.mean(run["bend"] for run in same),
                copied=statistics.mean(run["copied_loss"] - run["floor"] for run in same),
            )
        )
    return found
