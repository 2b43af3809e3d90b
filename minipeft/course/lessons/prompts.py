"""Lesson 09: soft prompts on the course's base, what attention does with them, recorded runs."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minipeft.core.errors import nearest
from minipeft.course.base import load_base
from minipeft.course.batches import Batch, floor, make_batches
from minipeft.course.lessons.merging import attention_maps
from minipeft.course.lessons.recorded import recorded_runs
from minipeft.course.world import World
from minipeft.methods.p_tuning import PromptEncoderConfig
from minipeft.methods.prefix_tuning import PrefixTuningConfig
from minipeft.methods.prompt_tuning import PromptTuningConfig
from minipeft.model import PeftModel, get_peft_model

CONFIGS = {
    "prompt": lambda n: PromptTuningConfig(num_virtual_tokens=n, prompt_tuning_init="SAMPLE_VOCAB"),
    "prompt, random": lambda n: PromptTuningConfig(num_virtual_tokens=n),
    "prefix": lambda n: PrefixTuningConfig(num_virtual_tokens=n),
    "prefix, zero": lambda n: PrefixTuningConfig(num_virtual_tokens=n, init_weights="zero"),
    "prefix, mlp": lambda n: PrefixTuningConfig(num_virtual_tokens=n, prefix_projection=True),
    "p-tuning": lambda n: PromptEncoderConfig(num_virtual_tokens=n),
}


def soft_prompted(method: str, n: int) -> PeftModel:
    """A fresh base with n virtual tokens of this kind, and nothing else to train.

    method: "prompt" starts from the embeddings of random tokens, "prompt, random" from N(0, 1);
        "prefix" trains keys and values (P-tuning v2), which start from N(0, 1), "prefix, zero"
        the same from 0, "prefix, mlp" an MLP that makes them; "p-tuning" trains an MLP that makes
        the prompt.

    Raises ValueError for another method.
    """
    if method not in CONFIGS:
        raise ValueError(f"no soft prompt is called {method!r}; {nearest(method, CONFIGS)}")
    return get_peft_model(load_base()[0], CONFIGS[method](n))


def translations(tokenizer, steps: int, seed: int) -> tuple[list[Batch], list[Batch], float]:
    """Texts of one kind that the base knows: (batches to train on, to test on, the test's floor).

    Eight texts a batch, one batch a step. The base loses on them what it takes to guess the kind,
    -log of its share of all texts, since in its world any kind may come.
    """
    world = World(seed=0)
    batches = make_batches(tokenizer, world.documents(8 * steps, seed, kind="translator"), 8)
    unseen = world.documents(64, seed=10**9, kind="translator")
    test = make_batches(tokenizer, unseen, 8)
    return batches, test, floor(unseen, test)


@torch.no_grad()
def share_on_virtual(model: nn.Module, input_ids: Tensor, n: int) -> Tensor:
    """The share of attention that each token of one text gives to n virtual tokens before it.

    model: a decoder with a soft prompt. input_ids: (1, length).
    Returns (layers, heads, length), each between 0 and 1.
    """
    length = input_ids.shape[1]
    maps = attention_maps(model, input_ids)  # of each layer (1, heads, queries, keys)
    return torch.stack([layer[0, :, -length:, :n].sum(-1) for layer in maps])


@torch.no_grad()
def nearest_tokens(P: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of P (n, d) the nearest row of the table (vocabulary, d) by angle.

    Returns the ids (n,) and the cosines (n,).
    """
    cosines = F.normalize(P, dim=1) @ F.normalize(table, dim=1).T  # (n, vocabulary)
    closest = cosines.max(dim=1)
    return closest.indices, closest.values


@dataclass(frozen=True)
class Prompted:
    """One kind of soft prompt at one rate after 120 steps of 8 texts: means over the seeds.

    Attributes:
        task: "instruction", the chef's texts, or "translator".
        method, n, rate: as `soft_prompted` takes them, and the learning rate; or "lora", r = 8.
        trained: how many numbers.
        learned: the loss above the task's floor, nats per token; smaller is better.
        tokens: how many tokens a text of the task has.
        forgotten: the loss on the base's own world above its floor, with the prompt in front.
        spread: (smallest, largest) of `learned` over the seeds.
        seeds: how many; rates and lengths ran with one, the best rate of that one with three.
    """

    task: str
    method: str
    n: int
    rate: float
    trained: int
    learned: float
    tokens: float
    forgotten: float
    spread: tuple[float, float]
    seeds: int

    def __str__(self) -> str:
        """A narrow line; losses are above the floors."""
        low, high = self.spread
        return (
            f"{self.method:<14} {self.rate:<4} {self.trained:>7,} trained: "
            f"{self.learned:.2f} ({low:.2f}-{high:.2f}), own world {self.forgotten:.2f}"
        )


def recorded_prompts(task: str) -> list[Prompted]:
    """What `scripts/sweep_prompts.py` found for a task, by method, length and rate, ascending.

    Raises ValueError for a task that was not swept.
    """
    runs = recorded_runs("soft_prompts")
    if task not in (swept := {run["task"] for run in runs}):
        raise ValueError(f"no sweep of task {task!r}; {nearest(task, swept)}")
    order = [*CONFIGS, "lora"]
    points = {(r["method"], r["n"], r["rate"]) for r in runs if r["task"] == task}
    return [
        _mean_of([r for r in runs if (r["task"], r["method"], r["n"], r["rate"]) == (task, *point)])
        for point in sorted(points, key=lambda point: (order.index(point[0]), *point[1:]))
    ]


def by_rate(points: Sequence[Prompted], n: int = 10) -> dict[str, list[Prompted]]:
    """The points of n virtual tokens: {method: by rate, ascending}."""
    found: dict[str, list[Prompted]] = {}
    for point in points:
        if point.n == n:
            found.setdefault(point.method, []).append(point)
    return found


def by_length(points: Sequence[Prompted]) -> dict[str, list[Prompted]]:
    """The points of the methods that were run at several lengths, at their one rate for these."""
    rates = {point.method: point.rate for point in points if point.n != 10}
    found: dict[str, list[Prompted]] = {method: [] for method in rates}
    for point in points:
        if rates.get(point.method) == point.rate:
            found[point.method].append(point)
    return found


def best(points: Sequence[Prompted]) -> Prompted:
    """A method at its own best rate: the first seed's choice, which the other seeds repeated."""
    return max(points, key=lambda point: (point.seeds, -point.learned))


def _mean_of(runs: list[dict]) -> Prompted:
    learned = [run["loss"] - run["floor"] for run in runs]
    return Prompted(
        task=runs[0]["task"],
        method=runs[0]["method"],
        n=runs[0]["n"],
        rate=runs[0]["rate"],
        trained=runs[0]["trained"],
        learned=statistics.mean(learned),
        tokens=runs[0]["tokens"],
        forgotten=statistics.mean(run["own_loss"] - run["own_floor"] for run in runs),
        spread=(min(learned), max(learned)),
        seeds=len(runs),
    )
