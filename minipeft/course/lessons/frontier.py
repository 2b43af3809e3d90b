"""What lesson 14 compares: runs along the frontier of learning and forgetting, and their measures.

`scripts/sweep_frontier.py` made the recorded runs. Every run trains on 960 texts of the chef's (or
on the table of codes), and is told by losses above the floors: of the task's test set, and of the
base's own world.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from minipeft.core.config import PeftConfig
from minipeft.core.errors import check_choice
from minipeft.course.base import load_base
from minipeft.course.lessons.recorded import Tuned, best, by_rate, mean_of, recorded_runs
from minipeft.methods.lora import LoraConfig
from minipeft.model import get_peft_model

TEXTS = 960  # how many of the chef's texts a run sees, whatever its batch size
KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ATTENTION, MLP = list(KINDS[:4]), list(KINDS[4:])
RANKS = (1, 4, 16, 64)
THRESHOLD = 0.6  # of a cosine, below which a singular vector is called an intruder


def lora(r: int, targets: str | list[str] = "all-linear", **options: bool) -> LoraConfig:
    """A LoRA with alpha = 16, so that its scale falls as 1/r."""
    return LoraConfig(r=r, lora_alpha=16, target_modules=targets, **options)


METHODS: dict[str, PeftConfig | None] = {
    "full": None,
    **{f"lora, r = {r}": lora(r) for r in RANKS},
    "attention, r = 33": lora(33, ATTENTION),
    "mlp, r = 20": lora(20, MLP),
    "all, r = 12": lora(12),
}
PLACES = ("attention, r = 33", "mlp, r = 20", "all, r = 12")
EARLIER = {  # sweeps of other lessons under the same conditions: {file: {name there: name here}}
    "learning_and_forgetting": {"full": "full", "lora": "lora, r = 8", "last block": "last block"},
    "dora": {"dora": "dora, r = 8"},
    "selective": {"ia3": "ia3"},
}
ORDER = ("full", "lora, r = 1", "lora, r = 4", "lora, r = 8", "lora, r = 16", "lora, r = 64",
         "dora, r = 8", "last block", "ia3", *PLACES)  # fmt: skip


def fresh(method: str) -> nn.Module:
    """The base with this method of METHODS on it; "full" is the base itself.

    Raises:
        ValueError: there is no such method.
    """
    check_choice("method", method, list(METHODS))
    model, config = load_base()[0], METHODS[method]
    return get_peft_model(model, config) if config else model


@torch.no_grad()
def largest_cosines(W0: Tensor, W: Tensor, leading: int = 10) -> Tensor:
    """For each leading left singular vector u of W the largest |cosine| with any of W0's.

    Both weights (out, in). Returns (leading,), or min(out, in) of them where that is fewer: 1 where
    u is one of W0's directions, of whatever index; small where W0 has no direction like it.
    """
    U0 = torch.linalg.svd(W0.double(), full_matrices=False).U  # (out, k), columns of length 1
    U = torch.linalg.svd(W.double(), full_matrices=False).U[:, :leading]
    return (U0.T @ U).abs().amax(0)


def intruders(W0: Tensor, W: Tensor, leading: int = 10, threshold: float = THRESHOLD) -> int:
    """How many of W's leading left singular vectors are like none of W0's.

    Shuttleworth et al. 2024 (arXiv 2410.21228) call them intruder dimensions: the largest |cosine|
    with any of W0's left singular vectors is below the threshold.
    """
    return int((largest_cosines(W0, W, leading) < threshold).sum())


@torch.no_grad()
def rank_of(update: Tensor, energy: float = 0.9) -> int:
    """The least number of singular values whose squares hold this share of their sum; 0 for 0."""
    squares = torch.linalg.svdvals(update.double()).square()
    held = squares.cumsum(0) / squares.sum()
    return int((held < energy).sum()) + 1 if squares.any() else 0


def spectra(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, list]:
    """What a run records of its matrices, for each kind of KINDS: the means over the blocks.

    rank90: of the update. intruders: their number in all blocks together.
    cosines: of the ten leading singular vectors in turn, the mean over all matrices.
    """
    pairs = [[(W, after[path]) for path, W in before.items() if kind in path] for kind in KINDS]
    cosines = torch.stack([torch.stack([largest_cosines(*p) for p in same]) for same in pairs])
    strange = cosines < THRESHOLD  # (kinds, blocks, leading)
    return {
        "rank90": [statistics.mean(rank_of(W - W0) for W0, W in same) for same in pairs],
        "intruders": strange.sum((1, 2)).tolist(),
        "cosines": [round(float(c), 3) for c in cosines.mean((0, 1))],
    }


def merged(model: nn.Module) -> nn.Module:
    """The plain network that computes the same; an adapter is merged for good."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


@dataclass(frozen=True)
class Point(Tuned):
    """A method at one rate, as `Tuned` says, and what its runs tell of its matrices.

    seeds: how many runs.
    forgotten_spread: (smallest, largest) of `forgotten` over the seeds.
    validation: like `learned`, on texts of the task drawn apart from the test set.
    intruders: the mean number of intruder dimensions in all 28 matrices, of 280 leading vectors.
    cosines: of the ten leading singular vectors in turn, the mean over matrices and seeds.
    rank90: rank of the update at 90% energy, by kind of matrix.

    Sweeps of earlier lessons recorded none of the last four.
    """

    seeds: int
    forgotten_spread: tuple[float, float]
    validation: float | None = None
    intruders: float | None = None
    cosines: tuple[float, ...] = ()
    rank90: Mapping[str, float] = field(default_factory=dict)


def point_of(runs: list[dict]) -> Point:
    """One method at one rate, from the runs of its seeds."""
    forgotten = [run["own_loss"] - run["own_floor"] for run in runs]
    point = Point(**vars(mean_of(runs)), seeds=len(runs),
                  forgotten_spread=(min(forgotten), max(forgotten)))  # fmt: skip
    watched = [run for run in runs if "rank90" in run]
    if not watched:
        return point
    columns = zip(*(run["rank90"] for run in watched), strict=True)
    return replace(
        point,
        validation=statistics.mean(run["val_loss"] - run["val_floor"] for run in watched),
        intruders=statistics.mean(sum(run["intruders"]) for run in watched),
        cosines=tuple(np.mean([run["cosines"] for run in watched], axis=0).tolist()),
        rank90=dict(zip(KINDS, map(statistics.mean, columns), strict=True)),
    )


Curves = dict[str, list[Point]]


def runs_of(task: str = "instruction", batch: int = 8) -> list[dict]:
    """The single runs on a task in batches of one size, those of earlier sweeps too.

    Raises:
        ValueError: nothing was recorded of that task and batch size.
    """
    recorded = recorded_runs("frontier")
    runs = [run for run in recorded if (run["task"], run["batch"]) == (task, batch)]
    if not runs:
        known = sorted({(run["task"], run["batch"]) for run in recorded})
        raise ValueError(f"no run of task {task!r} in batches of {batch}; recorded are {known}")
    if (task, batch) != ("instruction", 8):
        return runs
    found = {(run["method"], run["rate"], run["seed"]): run for run in runs}
    for file, names in EARLIER.items():
        for run in recorded_runs(file):
            if run["method"] in names and run.get("task", task) == task:
                method = names[run["method"]]
                found.setdefault((method, run["rate"], run["seed"]), run | {"method": method})
    return list(found.values())


def curves(task: str = "instruction", batch: int = 8, seed: int | None = None) -> Curves:
    """For each method its rates, ascending: means over the seeds, or the runs of one seed."""
    runs = [run for run in runs_of(task, batch) if seed in (None, run["seed"])]
    found = by_rate(runs, "method", point_of)
    return {method: found[method] for method in ORDER if method in found}


def frontier(seed: int | None = None) -> Curves:
    """The chef's task in batches of 8, every method on its usual layers: no key of PLACES."""
    return {name: points for name, points in curves(seed=seed).items() if name not in PLACES}


def within(points: Sequence[Tuned], learned: float) -> bool:
    """Whether `forgotten_at` can tell what was forgotten at this loss."""
    rising = _rising(points)
    return rising[0].learned <= learned <= rising[-1].learned


def _rising(points: Iterable[Tuned]) -> list[Tuned]:
    """The rates up to the one that learned most, by what they learned, the most first."""
    ordered = sorted(points, key=lambda point: point.rate)
    most = ordered.index(best(ordered))
    return sorted(ordered[: most + 1], key=lambda point: point.learned)


def forgotten_at(points: Iterable[Tuned], learned: float) -> float:
    """What a method has forgotten where it has learned this much; both in nats above the floor.

    points: one method at its rates. Between two neighbouring rates a line is drawn through the
        logarithms of both losses; rates above the one that learned most are left out, since they
        learn less and forget more.

    Raises:
        ValueError: no rate learned that much, or even the smallest learned more.
    """
    rising = _rising(points)
    if not within(rising, learned):
        raise ValueError(
            f"{rising[0].method!r} was not recorded at {learned} above the floor, only from "
            f"{rising[0].learned:.3f} to {rising[-1].learned:.3f}"
        )
    x, y = zip(*((math.log(p.learned), math.log(p.forgotten)) for p in rising), strict=True)
    return math.exp(np.interp(math.log(learned), x, y))


def forgotten_by_seed(method: str, learned: float) -> list[float]:
    """`forgotten_at` of each seed's own runs, where they reach as far."""
    found = [curves(seed=seed).get(method, []) for seed in range(3)]
    return [forgotten_at(points, learned) for points in found if points and within(points, learned)]


def best_rate(points: Sequence[Tuned]) -> float:
    """The rate at the lowest point of a parabola through the best rate and its two neighbours.

    Over the logarithms of rate and loss; at the end of the grid the end itself.
    """
    ordered = sorted(points, key=lambda point: point.rate)
    i = ordered.index(best(ordered))
    if i in (0, len(ordered) - 1):
        return ordered[i].rate
    near = [(math.log(p.rate), math.log(p.learned)) for p in ordered[i - 1 : i + 2]]
    a, b, _ = np.polyfit(*zip(*near, strict=True), 2)
    return math.exp(-b / (2 * a))


def by_distance(attention: Sequence[Tensor], longest: int = 24) -> list[float]:
    """How much attention goes how far back: the mean over layers, heads and queries.

    attention: maps (batch, heads, queries, keys) of a causal model. Of the queries that have
        `longest` tokens before them, the share given to the token 0, 1, ... `longest` places back.
    """
    rows = torch.stack([p.mean((0, 1)) for p in attention]).mean(0)  # (queries, keys)
    queries = range(longest, len(rows))
    return [
        float(torch.stack([rows[q, q - d] for q in queries]).mean()) for d in range(longest + 1)
    ]
