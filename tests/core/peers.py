"""Twins: one random base wrapped by Hugging Face peft and by minipeft with the same options.

The oracle is peft itself. Both sides get the same random, non-zero values in every trained tensor,
matched by the name that tensor has in an adapter file.
"""

import copy
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import peft
import torch
from torch import Tensor, nn

import minipeft
from minipeft.core.adapted import AdaptedLinear
from tests.closeness import assert_all_close, assert_close

from .models import build, logits


@contextmanager
def quiet() -> Iterator[None]:
    """peft warns where it repairs a configuration by itself (fan_in_fan_out); not our subject."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def file_name(parameter: str, adapter: str = "default") -> str:
    """The name, without the file's prefix, that a trained tensor has in an adapter file."""
    for prefix in ("base_model.model.", "base_model."):
        if parameter.startswith(prefix):
            parameter = parameter.removeprefix(prefix)
            break
    parameter = re.sub(rf"(\.modules_to_save)?\.{adapter}(?=\.|$)", "", parameter)
    return parameter.replace("lora_magnitude_vector.weight", "lora_magnitude_vector")


def our_file_name(parameter: str) -> str:
    """The same for a parameter of ours: `base_model` is the user's own model itself."""
    return parameter.removeprefix("base_model.").replace(".tuner.", ".")


def trained_by_peft(model: peft.PeftModel, adapter: str = "default") -> dict[str, nn.Parameter]:
    """Every parameter that peft trains, by its name in the file."""
    named = model.named_parameters()
    return {file_name(name, adapter): value for name, value in named if value.requires_grad}


def trained_by_us(model: minipeft.PeftModel) -> dict[str, nn.Parameter]:
    """Every parameter that minipeft trains, by its name in the file."""
    named = model.named_parameters()
    return {our_file_name(name): value for name, value in named if value.requires_grad}


def scramble(parameters: dict[str, nn.Parameter], seed: int = 2) -> None:
    """Random non-zero values, so that no product hides behind a zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in sorted(parameters):
            values = parameters[name]
            noise = torch.randn(values.shape, generator=generator, dtype=torch.float64)
            values.add_((0.3 * noise).to(values.dtype))


def copy_values(source: dict[str, nn.Parameter], target: dict[str, nn.Parameter]) -> None:
    """Give every tensor of `target` the value of its namesake; both must have the same names."""
    assert sorted(source) == sorted(target)
    with torch.no_grad():
        for name, values in source.items():
            assert values.shape == target[name].shape, name
            target[name].copy_(values)


def our_targets(model: minipeft.PeftModel) -> set[str]:
    """The module names that carry an adapter here."""
    modules = model.base_model.named_modules()
    return {name for name, module in modules if isinstance(module, AdaptedLinear)}


@dataclass
class Twins:
    """The same adapted model in two libraries."""

    ours: minipeft.PeftModel
    theirs: peft.PeftModel

    def answers(self) -> tuple[Tensor, Tensor]:
        return logits(self.ours), logits(self.theirs)

    def trained(self) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
        adapter = self.theirs.active_adapter
        return trained_by_us(self.ours), trained_by_peft(self.theirs, adapter)


def wrap_ours(
    base: nn.Module, options: dict, adapter: str = "default", config: str = "LoraConfig"
) -> minipeft.PeftModel:
    made = getattr(minipeft, config)(**copy.deepcopy(options))
    return minipeft.get_peft_model(base, made, adapter_name=adapter)


def wrap_theirs(
    base: nn.Module, options: dict, adapter: str = "default", config: str = "LoraConfig"
) -> peft.PeftModel:
    with quiet():
        config = getattr(peft, config)(**copy.deepcopy(options))
        return peft.get_peft_model(base, config, adapter_name=adapter)


def twins(
    family: str,
    options: dict,
    dtype: torch.dtype = torch.float64,
    adapter: str = "default",
    scrambled: bool = True,
    config: str = "LoraConfig",
) -> Twins:
    """Both libraries on the same base, with the same options and (scrambled) the same values."""
    pair = Twins(
        wrap_ours(build(family, dtype), options, adapter, config),
        wrap_theirs(build(family, dtype), options, adapter, config),
    )
    pair.theirs.eval()  # peft's new layers are in train mode even where the base is in eval mode
    if scrambled:
        ours, theirs = pair.trained()
        scramble(theirs)
        copy_values(theirs, ours)
    return pair


def gradients(model: nn.Module, trained: dict[str, nn.Parameter]) -> dict[str, Tensor | None]:
    """Gradients of a fixed smooth function of the logits, one for each trained tensor."""
    model.zero_grad()
    answer = logits(model)
    answer.pow(2).mean().add(answer.sin().mean()).backward()
    return {name: values.grad for name, values in trained.items()}


def assert_same_model(pair: Twins) -> None:
    """Targets, trained names, outputs and the gradient of every trained tensor agree."""
    assert our_targets(pair.ours) == set(pair.theirs.base_model.targeted_module_names)
    ours, theirs = pair.trained()
    assert sorted(ours) == sorted(theirs)
    assert_close(*pair.answers(), "logits")
    assert_all_close(gradients(pair.ours, ours), gradients(pair.theirs, theirs))


def raises_in_peft(action: Callable[[], object]) -> bool:
    """Whether peft refuses this, too."""
    try:
        with quiet():
            action()
    except (ValueError, TypeError):
        return True
    return False
