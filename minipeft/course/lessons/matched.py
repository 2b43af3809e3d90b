"""Every method of the course on one base, with as many trained numbers as the others: lesson 15.

A method's size (its rank, width or number of tokens) is the one that trains nearest to the budget,
as `count_parameters` counts. Some have one size and stand where they come nearest; full fine-tuning
and the last block stand beside them all. `scripts/sweep_choosing.py` made the recorded runs:

    seed 0      every rate; the best is the one with the least loss on validation texts
    seeds 1, 2  that rate

What is told is the loss on test texts. Both are draws of their own, yet of one small grammar.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from minipeft.budget.count import count_parameters
from minipeft.core.config import PeftConfig
from minipeft.core.errors import check_choice
from minipeft.course.base import load_base
from minipeft.course.lessons.recorded import recorded_runs, validated_rate
from minipeft.course.tasks import task
from minipeft.methods.bitfit import BitFitConfig
from minipeft.methods.bottleneck import BottleneckConfig
from minipeft.methods.ia3 import IA3Config
from minipeft.methods.lora import LoraConfig
from minipeft.methods.lora_plus import create_loraplus_optimizer
from minipeft.methods.partial import PartialConfig
from minipeft.methods.prefix_tuning import PrefixTuningConfig
from minipeft.methods.prompt_tuning import PromptTuningConfig
from minipeft.methods.vera import VeraConfig
from minipeft.model import get_peft_model

TASK, SEEDS = "instruction", (0, 1, 2)
VALIDATION = 1000  # added to the seed of the task's draw
RATIO = 16  # LoRA+: the rate of B in units of that of A
QV, ALL = ["q_proj", "v_proj"], "all-linear"

Sized = Callable[[int], PeftConfig]  # a method of a size
Method = Sized | PeftConfig | None  # ..., one of its only size, or full fine-tuning


def lora(targets: str | list[str] = ALL, **options) -> Sized:
    """LoRA of rank r at scale 2, the one of the whole course."""
    return lambda r: LoraConfig(r=r, lora_alpha=2 * r, target_modules=targets, **options)


def vera(targets: str | list[str] = ALL) -> Sized:
    """VeRA of rank r."""
    return lambda r: VeraConfig(r=r, target_modules=targets)


def pissa(r: int) -> PeftConfig:
    """PiSSA at the scale of its paper, alpha = r."""
    return LoraConfig(r=r, lora_alpha=r, target_modules=ALL, init_lora_weights="pissa")


def bottleneck(style: str) -> Sized:
    """Adapters of a width."""
    return lambda width: BottleneckConfig(style=style, bottleneck_size=width)


def prefix(n: int) -> PeftConfig:
    """n keys and values in each block."""
    return PrefixTuningConfig(num_virtual_tokens=n)


def prompt(n: int) -> PeftConfig:
    """n vectors before the text, which start as embeddings of random tokens."""
    return PromptTuningConfig(num_virtual_tokens=n, prompt_tuning_init="SAMPLE_VOCAB")


KVD = ["k_proj", "v_proj", "down_proj"]
BUDGETS: dict[int, dict[str, Method]] = {
    2_560: {
        "LoRA, q v": lora(QV),
        "VeRA, q v": vera(QV),
        "(IA)3": IA3Config(target_modules=KVD, feedforward_modules=["down_proj"]),
        "norms": PartialConfig(norms=True),
        "parallel": bottleneck("parallel"),
        "prefix": prefix,
        "prompt": prompt,
    },
    13_568: {
        "LoRA": lora(),
        "LoRA, q v": lora(QV),
        "DoRA, q v": lora(QV, use_dora=True),
        "VeRA": vera(),
        "BitFit": BitFitConfig(target_modules=ALL),
        "parallel": bottleneck("parallel"),
        "prefix": prefix,
    },
    108_544: {
        "LoRA": lora(),
        "rsLoRA": lora(use_rslora=True),
        "DoRA": lora(use_dora=True),
        "PiSSA": pissa,
        "LoRA+": lora(),
        "parallel": bottleneck("parallel"),
        "Houlsby": bottleneck("houlsby"),
        "prefix": prefix,
    },
}
BESIDE: dict[str, Method] = {"last block": PartialConfig(last_layers=1), "full": None}
VARIANTS = ("LoRA", "rsLoRA", "DoRA", "PiSSA", "LoRA+")  # LoRA's relatives, at the largest budget


@cache
def config_for(method: str, budget: int | None = None) -> PeftConfig | None:
    """The config of a method that trains nearest to a budget; None is full fine-tuning.

    budget: one of BUDGETS, or None for a method of BESIDE. Of two equally near the smaller is
    taken. Raises ValueError for what isn't there.
    """
    check_choice("budget", budget, [None, *BUDGETS])
    there = BESIDE if budget is None else BUDGETS[budget]
    check_choice("method", method, list(there))
    made = there[method]
    return nearest_size(made, budget) if callable(made) else made


def nearest_size(sized: Sized, budget: int) -> PeftConfig:
    """The size whose trained numbers are nearest to the budget; each size adds as many."""
    first, second = (trained(sized(size)) for size in (1, 2))
    steps, left = divmod(budget - first, second - first)
    return sized(1 + steps + (2 * left > second - first))


def trained(config: PeftConfig | None) -> int:
    """How many numbers of the course's base are trained."""
    return count_parameters(load_base()[0], config).trainable


def adapted(method: str, budget: int | None = None) -> nn.Module:
    """A fresh base with the method on it."""
    config = config_for(method, budget)
    model = load_base()[0]
    return model if config is None else get_peft_model(model, config)


def optimizer_of(method: str, model: nn.Module, rate: float) -> torch.optim.Optimizer | None:
    """LoRA+ has an optimizer of its own, where `rate` is A's; all others take the usual one."""
    if method != "LoRA+":
        return None
    adam = torch.optim.AdamW
    return create_loraplus_optimizer(model, adam, lr=rate, loraplus_lr_ratio=RATIO)


def chosen_rate(budget: int | None, method: str) -> float:
    """The recorded rate with the least loss on the validation texts of seed 0."""
    return validated_rate(runs_of(budget, method))


def runs_of(budget: int | None, method: str) -> list[dict]:
    """The recorded runs of a method. Raises ValueError where there is none."""
    runs = recorded_runs("choosing")
    check_choice("budget", budget, list(dict.fromkeys(run["budget"] for run in runs)))
    runs = [run for run in runs if run["budget"] == budget]
    check_choice("method", method, list(dict.fromkeys(run["method"] for run in runs)))
    return [run for run in runs if run["method"] == method]


def shared_texts(seed: int = 0) -> tuple[int, int]:
    """How many different texts the test draw has, and how many of them the validation draw has."""
    tested, kept = (
        {document.text for document in task(TASK, seed=s, batches=1, batch_size=8).examples}
        for s in (seed, VALIDATION + seed)
    )
    return len(tested), len(tested & kept)


@dataclass(frozen=True)
class Matched:
    """A method at one budget, at the rate that its validation texts chose; means over the seeds.

    Attributes:
        budget: None for what stands beside all of them.
        learned: loss on the test texts above their floor; spread: (smallest, largest).
        forgotten: loss on the base's own world above its floor.
        size: mean over the matrices of ||W - W0|| / ||W0||; None where no matrix has an update.
        seeds: how many.
    """

    budget: int | None
    method: str
    rate: float
    trained: int
    learned: float
    spread: tuple[float, float]
    forgotten: float
    size: float | None
    seeds: int

    def __str__(self) -> str:
        low, high = self.spread
        moved = "   -" if not self.size else f"{self.size:4.0%}"
        return (
            f"{self.method:<10} {self.trained:>9,} {self.rate:>7g}  {self.learned:.2f} "
            f"({low:.2f} to {high:.2f})  {self.forgotten:5.1f}  {moved}"
        )


@cache
def compared() -> tuple[Matched, ...]:
    """Every method at every budget, in the order of BUDGETS; what stands beside comes last."""
    points = [(budget, method) for budget, methods in BUDGETS.items() for method in methods]
    points += [(None, method) for method in BESIDE]
    return tuple(at_rate(budget, method, chosen_rate(budget, method)) for budget, method in points)


def by_rate(budget: int | None, method: str) -> dict[float, float]:
    """{rate: loss on the test texts above their floor}, ascending: the runs of seed 0."""
    runs = [run for run in runs_of(budget, method) if run["seed"] == SEEDS[0]]
    return {run["rate"]: run["learned"] for run in sorted(runs, key=lambda run: run["rate"])}


def at_rate(budget: int | None, method: str, rate: float) -> Matched:
    """A method at one of its recorded rates."""
    same = [run for run in runs_of(budget, method) if run["rate"] == rate]
    check_choice("rate", rate, sorted({run["rate"] for run in runs_of(budget, method)}))
    learned = [run["learned"] for run in same]
    sizes = [run["size"] for run in same]
    return Matched(
        budget=budget,
        method=method,
        rate=rate,
        trained=same[0]["trained"],
        learned=statistics.mean(learned),
        spread=(min(learned), max(learned)),
        forgotten=statistics.mean(run["forgotten"] for run in same),
        size=None if None in sizes else statistics.mean(sizes),
        seeds=len(same),
    )
