"""One small adapter of each method on each family: for what must hold whatever the method.

A new method joins by its line here; a test counts that none is missing.
"""

from collections.abc import Callable

import torch
from torch import nn

import minipeft
from minipeft.core.config import PeftConfig
from minipeft.methods import METHODS

from .models import FAMILIES, build
from .peers import scramble

Maker = Callable[[list[str]], PeftConfig]  # from the names that a family gives its linear layers


def adaptive(targets: list[str]) -> PeftConfig:
    return minipeft.AdaLoraConfig(
        init_r=3, target_r=2, tinit=2, tfinal=2, total_step=10, target_modules=targets
    )


def scaled(targets: list[str]) -> PeftConfig:
    return minipeft.IA3Config(target_modules=targets, feedforward_modules=targets[-1:])


MAKERS: dict[str, Maker] = {
    "LoRA": lambda targets: minipeft.LoraConfig(r=3, target_modules=targets),
    "rsLoRA": lambda targets: minipeft.LoraConfig(r=3, use_rslora=True, target_modules=targets),
    "DoRA": lambda targets: minipeft.LoraConfig(r=3, use_dora=True, target_modules=targets),
    "PiSSA": lambda targets: minipeft.LoraConfig(
        r=3, init_lora_weights="pissa", target_modules=targets
    ),
    "AdaLoRA": adaptive,
    "VeRA": lambda targets: minipeft.VeraConfig(r=5, target_modules=targets),
    "IA3": scaled,
    "Houlsby": lambda _: minipeft.BottleneckConfig(style="houlsby"),
    "Pfeiffer": lambda _: minipeft.BottleneckConfig(style="pfeiffer"),
    "parallel": lambda _: minipeft.BottleneckConfig(style="parallel"),
    "BitFit": lambda targets: minipeft.BitFitConfig(target_modules=targets),
    "diff pruning": lambda targets: minipeft.DiffPruningConfig(target_modules=targets),
    "partial": lambda _: minipeft.PartialConfig(last_layers=1),
    "prompt": lambda _: minipeft.PromptTuningConfig(num_virtual_tokens=3),
    "prefix": lambda _: minipeft.PrefixTuningConfig(num_virtual_tokens=3),
    "P-tuning": lambda _: minipeft.PromptEncoderConfig(num_virtual_tokens=3, encoder_hidden_size=8),
}
TYPES = {name: maker(["query", "value"]).peft_type for name, maker in MAKERS.items()}
SOFT = ("prompt", "prefix", "P-tuning")
# Why these can't be merged is said where they are defined.
APART = (*SOFT, "Houlsby", "Pfeiffer", "parallel")
# These start away from the base, because they are there from the start.
AWAY = SOFT
# BERT has no one module that is its MLP.
NOWHERE = [("parallel", "bert")]
CASES = [
    (method, family)
    for method in MAKERS
    for family in sorted(FAMILIES)
    if (method, family) not in NOWHERE
]
assert set(TYPES.values()) == set(METHODS), "a method has no line in MAKERS"


def config_for(method: str, family: str) -> PeftConfig:
    return MAKERS[method](list(FAMILIES[family].targets))


def adapted(
    method: str, family: str, dtype: torch.dtype = torch.float32, scrambled: bool = True
) -> minipeft.PeftModel:
    """A tiny model with one adapter of this method, its tensors random where `scrambled`."""
    model = minipeft.get_peft_model(build(family, dtype), config_for(method, family))
    if scrambled:
        scramble(trained(model))
    return model.eval()


def trained(model: minipeft.PeftModel) -> dict[str, nn.Parameter]:
    """What requires a gradient, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}
