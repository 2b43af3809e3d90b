"""The selection guide of lesson 15: what may be trained on a card, with reasons and evidence.

    for choice in choose("llama-7b", "24 GB", must_merge=True):
        print(choice)

Nothing is decided by a threshold on the model's name: bytes come from `memory_budget`, numbers
from `count_parameters`. A choice is ruled out by what can't be (it does not fit, it can't be
merged). Those left are ordered by how many reasons speak against them, then by the loss that the
lesson's own sweep found. That is an order in which to try things, and no law: see the evidence.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from minipeft.budget import count_parameters, memory_budget
from minipeft.budget.fits import parse_size
from minipeft.budget.training_setup import TrainingSetup
from minipeft.core.config import PeftConfig
from minipeft.core.errors import check_choice, check_whole
from minipeft.course.lessons import matched
from minipeft.course.lessons.benchmark import Run, benchmark, standard_error
from minipeft.course.lessons.choosing_reasons import (
    AGAINST,
    QUESTIONS,
    RULES_OUT,
    Case,
    Cost,
    Needs,
    Reason,
)
from minipeft.course.lessons.qlora_recorded import lora_full_and_qlora
from minipeft.course.lessons.recorded import best
from minipeft.methods.bitfit import BitFitConfig
from minipeft.methods.bottleneck import BottleneckConfig
from minipeft.methods.ia3 import IA3Config
from minipeft.methods.lora import LoraConfig
from minipeft.methods.partial import PartialConfig
from minipeft.methods.prefix_tuning import PrefixTuningConfig
from minipeft.methods.prompt_tuning import PromptTuningConfig
from minipeft.shapes.naming import model_for

__all__ = ["METHODS", "Choice", "Reason", "Run", "benchmark", "choose", "standard_error"]

LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
METHODS: dict[str, PeftConfig | None] = {
    "full": None,
    "LoRA": LoraConfig(**LORA),
    "QLoRA": LoraConfig(**LORA),
    "DoRA": LoraConfig(**LORA, use_dora=True),
    "(IA)3": IA3Config(target_modules=matched.KVD, feedforward_modules=["down_proj"]),
    "BitFit": BitFitConfig(),
    "adapters": BottleneckConfig(style="parallel", bottleneck_size=64),
    "prefix": PrefixTuningConfig(num_virtual_tokens=20),
    "prompt": PromptTuningConfig(num_virtual_tokens=20),
    "last blocks": PartialConfig(last_layers=2),
}
NEW_BIASES = BitFitConfig(target_modules="all-linear")  # for a model that has none
IN_THE_SWEEP = {"adapters": "parallel", "last blocks": "last block"}  # other names there
FOUR_BITS = {"quantization": "nf4_double", "optimizer": "paged_adamw"}


@dataclass(frozen=True)
class Choice:
    """One method, whether it is possible, and why it stands where it stands.

    config: ready for `get_peft_model`; None for full fine-tuning.
    cost: None where minipeft does not build the method on this model.
    learned: the loss above the floor in the course's own sweeps, on its small base.
    """

    method: str
    config: PeftConfig | None
    cost: Cost | None
    learned: float
    reasons: tuple[Reason, ...]

    @property
    def possible(self) -> bool:
        """Whether nothing rules it out."""
        return all(reason.effect != RULES_OUT for reason in self.reasons)

    @property
    def against(self) -> int:
        """How many reasons speak against it."""
        return sum(reason.effect == AGAINST for reason in self.reasons)

    def __str__(self) -> str:
        head = f"{self.method}{'' if self.possible else ', not here'}: {self.cost or 'not built'}"
        return "\n".join([head, *(f"  {reason}" for reason in self.reasons)])


def choose(
    model: Any,
    room: str | int,
    *,
    batch: int = 1,
    length: int = 512,
    checkpointing: bool = True,
    spare: str | int = "1 GB",
    must_merge: bool = False,
    adapters: int = 1,
    fast_single: bool = False,
    small_data: bool = False,
    new_tokens: int = 0,
    pretraining: bool = False,
    methods: Sequence[str] = tuple(METHODS),
) -> list[Choice]:
    """What to try first, and what not at all: every method with its reasons, ranked.

    Args:
        model: as `count_parameters` takes it. room: of the card, as "24 GB", "24 GiB" or bytes.
        batch, length, checkpointing: of a training step, in bf16 with a fused Adam.
        spare: kept free for the GPU's own needs and for fragments: an assumption, not a prediction.
        must_merge: the result must be one plain model, without further parts.
        adapters: how many tasks are served at once from one base.
        fast_single: single answers must come fast, one text at a time.
        small_data: there are hundreds of examples, not many thousands.
        new_tokens: how many tokens the base has never seen.
        pretraining: the base's weights are random.
        methods: which of METHODS to look at.

    Raises ValueError or TypeError for what isn't known.
    """
    check_whole("adapters", adapters, 1)
    check_whole("new_tokens", new_tokens, 0)
    for name in methods:
        check_choice("methods", name, list(METHODS))
    options = {"batch": batch, "length": length, "checkpointing": checkpointing}
    TrainingSetup(**options)  # an error here is about these, not about one method
    remembered(count_parameters, model, None)  # ... or about the model
    free = parse_size(room) - parse_size(spare)
    needs = Needs(
        model, free, options, must_merge, adapters, fast_single, small_data, new_tokens,
        pretraining,
    )  # fmt: skip
    return sorted((judged(name, needs) for name in methods), key=place)


def place(choice: Choice) -> tuple:
    """What comes first: the possible, then few reasons against, then what learned most."""
    if not choice.possible:
        return True, choice.cost.needed if choice.cost else math.inf, choice.learned
    return False, choice.against, choice.learned


def judged(method: str, needs: Needs) -> Choice:
    """One method's cost and reasons."""
    config, new_biases = METHODS[method], False
    if method == "BitFit" and not has_biases(needs.model):
        config, new_biases = NEW_BIASES, True
    try:
        cost = priced(method, config, needs)
    except ValueError as error:
        reason = Reason(RULES_OUT, str(error), "minipeft does not build it on this model")
        return Choice(method, config, None, learned_here(method), (reason,))
    plain = priced("LoRA", METHODS["LoRA"], needs)
    case = Case(method, config, cost, needs, plain.needed <= needs.room, new_biases)
    reasons = tuple(reason for question in QUESTIONS for reason in question(case))
    return Choice(method, config, cost, learned_here(method), reasons)


def has_biases(model: Any) -> bool:
    """Whether any layer of a model has a bias."""
    return any(name.endswith("bias") for name, _ in model_for(model, None).named_parameters())


def priced(method: str, config: PeftConfig | None, needs: Needs) -> Cost:
    """Bytes and numbers; where the weights are too large already, these alone are told."""
    count = remembered(count_parameters, needs.model, config)
    whole, file = 2 * count.base, 2 * count.trainable  # in 16 bits
    if method != "QLoRA" and whole > needs.room:
        return Cost(whole, True, count.trainable, file, whole)
    options = {"optimizer": "adamw_fused"} | needs.options
    options |= FOUR_BITS if method == "QLoRA" else {}
    needed = remembered(memory_budget, needs.model, config, **options).needed_bytes
    return Cost(needed, False, count.trainable, file, whole)


KNOWN: dict[tuple, Any] = {}


def remembered(calculator: Callable, model: Any, config: PeftConfig | None, **options: Any) -> Any:
    """The calculator's result; for a model that is told by its name it is kept."""
    if not isinstance(model, str):
        return calculator(model, config, **options)
    key = calculator.__name__, model, repr(config), tuple(options.items())
    if key not in KNOWN:
        KNOWN[key] = calculator(model, config, **options)
    return KNOWN[key]


@cache
def learned_here(method: str) -> float:
    """The method's least loss above the floor, over the budgets at which it was recorded."""
    if method == "QLoRA":
        return best(lora_full_and_qlora(matched.TASK)["qlora"]).learned
    return min(
        p.learned for p in matched.compared() if p.method == IN_THE_SWEEP.get(method, method)
    )
