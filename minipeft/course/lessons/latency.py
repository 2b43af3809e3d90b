"""How long a forward pass takes with an adapter on, in units of the bare base; or a training step.

Everyone runs once in each round, starting with another one each time; a ratio is taken within a
round, so that a busy moment hits all alike, and the median and quartiles of these are told. The
clock counts the time of this one thread on the processor, where the system can tell: other
programs' turns are no latency of ours.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from minipeft import BottleneckConfig, LoraConfig, PeftConfig, get_peft_model
from minipeft.budget.count import count_parameters
from minipeft.core.errors import check_choice
from minipeft.course.base import load_base
from minipeft.course.lessons.recorded import recorded_runs
from minipeft.models.llama import Llama, LlamaConfig

BASE = "base"
QV = ["q_proj", "v_proj"]
LORA = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
FINE = 1e-5  # seconds: a clock that ticks more slowly can't time one pass


def wide(layers: int = 4, hidden: int = 768, inner: int = 2048) -> Llama:
    """A base of random numbers, four times as wide as the course's, as deep."""
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 96,
        head_dim=32,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    return Llama(config)


BASES: dict[str, Callable[[], nn.Module]] = {
    "192 wide": lambda: load_base()[0],
    "768 wide": wide,
}


def setups(model: nn.Module) -> dict[str, PeftConfig]:
    """The contenders: LoRA on all linear layers, on two, and adapters that train as many numbers.

    An adapter's width is the largest that trains no more than the LoRA on all linear layers.
    """
    found: dict[str, PeftConfig] = {"LoRA, merged": LORA, "LoRA, all": LORA}
    found["LoRA, q and v"] = LoraConfig(r=8, lora_alpha=16, target_modules=QV)
    most = count_parameters(model, LORA).trainable
    for style in ("houlsby", "pfeiffer", "parallel"):
        one = BottleneckConfig(style=style, bottleneck_size=1)
        two = BottleneckConfig(style=style, bottleneck_size=2)
        first, second = (count_parameters(model, config).trainable for config in (one, two))
        size = 1 + (most - first) // (second - first)
        found[style] = BottleneckConfig(style=style, bottleneck_size=size)
    return found


def contenders(name: str = "192 wide") -> dict[str, nn.Module]:
    """The bare base of BASES, and one with each of `setups`, ready to run; LoRA merged where said.

    Raises ValueError for a name that BASES lacks.
    """
    check_choice("name", name, list(BASES))
    made = {BASE: BASES[name]().eval()}
    for setup, config in setups(made[BASE]).items():
        model = get_peft_model(BASES[name](), config).eval()
        made[setup] = model.merge_and_unload() if setup.endswith("merged") else model
    return made


@dataclass(frozen=True)
class Slowdown:
    """Times in units of the base's: the median over the rounds, and the quartiles."""

    median: float
    low: float
    high: float


def clock() -> Callable[[], float]:
    """The time of this thread on the processor, or the time of day where that ticks slowly."""
    fine = time.get_clock_info("thread_time").resolution < FINE
    return time.thread_time if fine else time.perf_counter


@torch.no_grad()
def slowdowns(
    models: Mapping[str, nn.Module],
    input_ids: Tensor,
    rounds: int = 15,
    now: Callable[[], float] | None = None,
) -> dict[str, Slowdown]:
    """How many times as long as `models["base"]` each of the others takes for one forward pass.

    input_ids: (batch, length). now: a clock in seconds, `clock()` by default.
    """
    passes = {name: partial(model, input_ids) for name, model in models.items()}
    return _in_turns(passes, BASE, rounds, now)


def training_steps(
    models: Mapping[str, nn.Module],
    loss: Callable[[nn.Module], Tensor],
    unit: str,
    rounds: int = 9,
    now: Callable[[], float] | None = None,
) -> dict[str, Slowdown]:
    """How many times as long as `models[unit]` each of the others takes for one step of AdamW.

    loss: gives a model's loss, a scalar with a gradient. Forward pass, backward pass and update
    count; what is trainable in the models is trained.
    """

    def step_of(model: nn.Module) -> Callable[[], None]:
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)

        def step() -> None:
            loss(model).backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return _in_turns({name: step_of(model) for name, model in models.items()}, unit, rounds, now)


def _in_turns(
    calls: Mapping[str, Callable[[], object]],
    unit: str,
    rounds: int,
    now: Callable[[], float] | None,
) -> dict[str, Slowdown]:
    now = now or clock()
    names, times = list(calls), {name: [] for name in calls}
    for number in range(-2, rounds):  # two rounds to warm up
        first = number % len(names)
        for name in names[first:] + names[:first]:
            began = now()
            calls[name]()
            if number >= 0:
                times[name].append(now() - began)
    return {name: _ratio(times[name], times[unit]) for name in names if name != unit}


def _ratio(times: list[float], base: list[float]) -> Slowdown:
    ratios = [one / other for one, other in zip(times, base, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Slowdown(median, low, high)


def multiplications(name: str) -> dict[str, float]:
    """Multiplications with weights for one token, in units of the base's, for each of `setups`.

    A weight of a linear layer is multiplied once for each token; so the share that a method adds is
    that of its trained numbers (an adapter's few biases, which are only added, among them).
    """
    model = BASES[name]()
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    return {
        setup: 1
        + (not setup.endswith("merged")) * count_parameters(model, config).trainable / linear
        for setup, config in setups(model).items()
    }


def recorded(name: str, length: int) -> tuple[str, dict[str, dict[int, Slowdown]]]:
    """What `scripts/latency.py` measured: (the processor, {setup: {batch: slowdown}}).

    Raises ValueError for a base or a length that was not measured.
    """
    runs = recorded_runs("latency")
    check_choice("name", name, sorted({run["base"] for run in runs}))
    runs = [run for run in runs if run["base"] == name]
    check_choice("length", length, sorted({run["length"] for run in runs}))
    found: dict[str, dict[int, Slowdown]] = {}
    for run in (run for run in runs if run["length"] == length):
        for setup, (low, median, high) in run["slowdowns"].items():
            found.setdefault(setup, {})[run["batch"]] = Slowdown(median, low, high)
    return runs[0]["processor"], found
