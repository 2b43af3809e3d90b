"""The parameter counter of lesson 04: what a method trains on a model, by kind of matrix.

kinds, count = by_kind("llama-7b", config_for("LoRA", "q, v", 8))
"""

from collections.abc import Callable

from minipeft import (
    AdaLoraConfig,
    BitFitConfig,
    BottleneckConfig,
    DiffPruningConfig,
    IA3Config,
    LoraConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    VeraConfig,
)
from minipeft.budget import Architecture, ParameterCount
from minipeft.budget.count import counted
from minipeft.core.config import PeftConfig
from minipeft.core.errors import nearest
from minipeft.shapes.naming import model_for

Kinds = dict[str, tuple[int, int]]

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
KINDS = (*ATTENTION, *MLP)
TARGETS = {
    "q, v": ("q_proj", "v_proj"),
    "attention": ATTENTION,
    "MLP": MLP,
    "all linear": KINDS,
}
# Each method with `size`: its rank, the width of its bottleneck, or its number of virtual tokens.
METHODS: dict[str, Callable[[list[str], int], PeftConfig]] = {
    "LoRA": lambda targets, size: LoraConfig(r=size, target_modules=targets),
    "DoRA": lambda targets, size: LoraConfig(r=size, use_dora=True, target_modules=targets),
    "AdaLoRA": lambda targets, size: AdaLoraConfig(
        init_r=size, target_r=size, total_step=1, target_modules=targets
    ),
    "VeRA": lambda targets, size: VeraConfig(r=size, target_modules=targets),
    "BitFit": lambda targets, size: BitFitConfig(target_modules=targets),
    "diff pruning": lambda targets, size: DiffPruningConfig(target_modules=targets),
    "(IA)3": lambda targets, size: IA3Config(),
    "adapters": lambda targets, size: BottleneckConfig(style="houlsby", bottleneck_size=size),
    "prefix": lambda targets, size: PrefixTuningConfig(num_virtual_tokens=size),
    "prompt": lambda targets, size: PromptTuningConfig(num_virtual_tokens=size),
}
OWN_PLACES = ("(IA)3", "adapters", "prefix", "prompt")  # the targets say nothing to these
WITHOUT_SIZE = ("BitFit", "diff pruning", "(IA)3")
TOKENS = "virtual tokens"  # what a soft prompt trains is in no matrix


def config_for(method: str, targets: str, size: int) -> PeftConfig:
    """The config of a method by its name. Raises ValueError for a name that isn't known."""
    for name, known in ((method, METHODS), (targets, TARGETS)):
        if name not in known:
            raise ValueError(f"{name!r} is not known; {nearest(name, known)}")
    return METHODS[method](list(TARGETS[targets]), size)


def described(method: str, targets: str, size: int) -> str:
    """The choice in words, without what says nothing to the method."""
    words = method if method in WITHOUT_SIZE else f"{method} {size}"
    return words if method in OWN_PLACES else f"{words} on {targets}"


def by_kind(model: str | Architecture, config: PeftConfig) -> tuple[Kinds, ParameterCount]:
    """{kind: (numbers in the base, trained)} for a decoder of Llama's family, and the whole count.

    What a soft prompt trains is in no matrix, and comes last.
    """
    shapes = model_for(model, config)
    base, trained = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for path, module in shapes.named_modules():
        kind = path.rpartition(".")[2]
        if kind in base:
            base[kind] += module.weight.numel()
    count = counted(shapes, config)
    for path, numbers in count.by_module.items():
        kind = path.rpartition(".")[2]
        kind = kind if kind in base else TOKENS
        trained[kind] = trained.get(kind, 0) + numbers
    return {kind: (base.get(kind, 0), numbers) for kind, numbers in trained.items()}, count
