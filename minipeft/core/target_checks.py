"""Errors about the names in a config and the modules that they match, with the nearest choice.

An adapter that would have no effect is an error.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from minipeft.core.adapted import AdaptedLinear
from minipeft.core.config import LayerConfig, PeftConfig
from minipeft.core.errors import nearest
from minipeft.core.linear import is_4bit, is_linear
from minipeft.core.modules import modules_by_name
from minipeft.core.targets import (
    HEADS,
    chosen_layers,
    entries,
    is_called,
    layer_number,
    unmatched_names,
)

# What a linear layer's numbers are stored as; 8 bits of any kind are codes with a scale.
DENSE_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_names(model: nn.Module, config: LayerConfig) -> None:
    """Raise ValueError, with the nearest names of modules, for a name that matches none."""
    modules, wanted = modules_by_name(model, remove_duplicate=False), config.target_modules
    if not wanted and (wanted is not None or config.needs_targets):
        known = endings(modules, config)
        raise ValueError(f"target_modules={wanted!r}: name them; {nearest('', known)}")
    for option, stranger in unmatched_names(modules, config):
        known = endings(modules, config)
        if option == "modules_to_save":
            known = {path.rpartition(".")[2] for path in modules if path}
        said = f"{option}={stranger!r} matches no module of {type(model).__name__}; "
        raise ValueError(said + (as_list(config, option, known) or nearest(stranger, known)))


def check_targets(model: nn.Module, config: LayerConfig, found: dict[str, nn.Module]) -> None:
    """Raise ValueError where no layer was found, or one that the method can't adapt."""
    if config.target_modules is not None and not found:
        raise ValueError(
            f"target_modules={config.target_modules!r} matches, but "
            f"exclude_modules={config.exclude_modules!r}, "
            f"modules_to_save={config.modules_to_save!r} and "
            f"layers_to_transform={config.layers_to_transform!r} leave no layer over"
        )
    modules = modules_by_name(model, remove_duplicate=False)
    for path, module in found.items():
        check_target(modules, path, module, config)


def as_list(config: LayerConfig, option: str, known: set[str]) -> str:
    """A hint for a string that holds names, such as "q_proj" or "q_proj, v_proj"; else ""."""
    value = getattr(config, option, None)
    meant = re.split(r"[\s,;|]+", value.strip("()[] ")) if isinstance(value, str) else []
    if not meant or not set(meant) <= known:
        return ""
    return f"a string is a regular expression for the whole name; write a list: {option}={meant}"


def endings(modules: dict[str, nn.Module], config: LayerConfig) -> set[str]:
    """The last parts of the names of all possible targets."""
    fits = (path for path, module in modules.items() if is_linear(module) or config.accepts(module))
    return {path.rpartition(".")[2] for path in fits if path}


def without_unmatched_names(model: nn.Module, config: LayerConfig) -> LayerConfig:
    """A file's config without the names that match no module.

    peft writes such names: "score" beside "classifier" for every SEQ_CLS model. The tensors of the
    file must all fit anyway.
    """
    modules = modules_by_name(model, remove_duplicate=False)
    for option, name in unmatched_names(modules, config):
        value = getattr(config, option)
        if isinstance(value, dict):
            rest = {key: number for key, number in value.items() if key != name}
        else:
            rest = [] if isinstance(value, str) else [other for other in value if other != name]
        if rest or option != "target_modules":  # no target at all is an error still
            config = replace(config, **{option: rest if isinstance(rest, dict) else rest or None})
    return config


def check_all_used(config: LayerConfig, targets: Iterable[str]) -> None:
    """Raise ValueError for an entry of a new adapter's config that matches none of its targets.

    A name in target_modules may match modules that exclude_modules or modules_to_save leave out.
    """
    targets = list(targets)
    known = {path.rpartition(".")[2] for path in targets}
    on_purpose = config.exclude_modules or config.modules_to_save
    lists = isinstance(config.target_modules, list | tuple | set) and not on_purpose
    for option, name, means in entries(config):
        listed = option == "target_modules" and lists
        if (listed or option in config.patterns) and not any(means(path) for path in targets):
            left = f"layers_to_transform={config.layers_to_transform!r} leaves none of it over"
            what = f"matches, but {left}" if listed else "matches no target"
            raise ValueError(f"{option}={name!r} {what}; {nearest(name, known)}")
    numbers = {layer_number(path, config) for path in targets} - {None}
    for number in chosen_layers(config):
        if number not in numbers:
            there = ", ".join(str(known) for known in sorted(numbers))
            raise ValueError(
                f"layers_to_transform={number!r} holds none of the targets; those are in {there}"
            )


def check_target(
    modules: dict[str, nn.Module], path: str, module: nn.Module, config: LayerConfig
) -> None:
    """Raise ValueError for a module that the method can't adapt, or that the model never calls."""
    accepted = config.accepts(module)
    if isinstance(module, AdaptedLinear):
        raise ValueError(f"{path} carries an adapter already; use add_adapter on its PeftModel")
    if not is_linear(module) and not accepted:
        inside = {name: modules[name] for name in modules if name.startswith(f"{path}.")}
        hint = nearest(path, endings(inside, config) or endings(modules, config))
        raise ValueError(
            f"target {path!r} is a {type(module).__name__}, not a linear layer; {hint}. To train "
            "it in full, name it in modules_to_save"
        )
    if not path:
        raise ValueError(
            "target_modules='' is the model itself; put it into another module, such as "
            "nn.Sequential, so that there is a place for the adapted layer"
        )
    if is_linear(module):
        check_weight(path, module)
    if not accepted and not is_called(modules, path):
        raise ValueError(
            f"target {path!r}: nn.MultiheadAttention reads its weight past the layer's forward, "
            "so an adapter there would do nothing; choose another layer"
        )


def check_weight(path: str, layer: nn.Module) -> None:
    """Raise ValueError for a weight that can't be read as a matrix (out, in) of numbers.

    8-bit layers hold codes, torchao's tensors too; a lazy layer has no shape yet; FSDP's is flat.
    """
    weight = layer.weight
    kind = f"{type(layer).__name__} with {type(weight).__name__} of {weight.dtype}"
    if isinstance(weight, nn.parameter.UninitializedParameter):
        raise ValueError(f"target {path!r} is a {kind}, without a shape: first run it once")
    if is_4bit(layer):
        return
    plain = type(weight).__module__.partition(".")[0] == "torch"
    if not plain or weight.dtype not in DENSE_DTYPES:
        raise ValueError(
            f"target {path!r} is a {kind}: its codes can't take an adapter here; load the base in "
            "16 or 32 bits, or in 4 bits with quantize_model"
        )
    if weight.dim() != 2:
        raise ValueError(
            f"the weight of target {path!r} has the shape {tuple(weight.shape)}, where (out, in) "
            "is needed; attach the adapter first, then wrap the model in FSDP"
        )


def check_head(model: nn.Module, config: PeftConfig, saved: dict[str, nn.Module]) -> None:
    """Raise ValueError where a new classifier's random head would not be trained."""
    heads = HEADS.get(config.task_type, [])
    if heads and not saved:
        known = {path.rpartition(".")[2] for path in modules_by_name(model) if path}
        raise ValueError(
            f"task_type={config.task_type!r}: {type(model).__name__} has no module called "
            f"{' or '.join(heads)}, so its head would not be trained; name it in modules_to_save; "
            f"{nearest(heads[0], known)}"
        )
