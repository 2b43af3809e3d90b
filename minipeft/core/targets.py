"""Which modules a config means: names by suffix, by regular expression, or "all-linear"."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import nn

from minipeft.core.adapted import AdaptedLinear
from minipeft.core.config import LayerConfig, PeftConfig
from minipeft.core.errors import nearest
from minipeft.core.linear import is_4bit, is_linear
from minipeft.core.modules import modules_by_name, unwrapped
from minipeft.core.patterns import is_below, matches, names


def expand_all_linear(model: nn.Module, config: LayerConfig) -> list[str]:
    """Every linear layer but the output head (and, in a classifier, the classification head).

    Attention that reads the weight of its out_proj past the layer's forward keeps it.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is None and config.task_type == "SEQ_CLS":
        head = getattr(model, "score", getattr(model, "classifier", None))
    modules = modules_by_name(model)
    found = [
        path
        for path, layer in modules.items()
        if path and is_linear(layer) and layer is not head and is_called(modules, path)
    ]
    if not found:
        raise ValueError(
            f"target_modules='all-linear': {type(model).__name__} holds no linear layer"
        )
    return found


def chosen_layers(config: LayerConfig) -> list[int]:
    """layers_to_transform as a list; empty where every layer is meant."""
    chosen = config.layers_to_transform
    return [chosen] if isinstance(chosen, int) else list(chosen or [])


def layer_number(path: str, config: LayerConfig) -> int | None:
    """The first layer number in this path, of the lists that layers_pattern names."""
    lists = config.layers_pattern or [r"[^.]*"]
    lists = [lists] if isinstance(lists, str) else lists
    found = (re.match(rf"(?:^|.*?\.){name}\.(\d+)\.", path) for name in lists)
    return next((int(hit[1]) for hit in found if hit), None)


def in_chosen_layers(path: str, config: LayerConfig) -> bool:
    """Whether layers_to_transform, if given, names the first layer number in this path."""
    chosen = chosen_layers(config)
    return not chosen or layer_number(path, config) in chosen


def check_all_used(config: LayerConfig, targets: Iterable[str]) -> None:
    """Raise ValueError for an entry of a new adapter's config that concerns none of its targets.

    A name in target_modules may be left out by exclude_modules and modules_to_save: they say so.
    """
    targets = list(targets)
    left_out_on_purpose = config.exclude_modules or config.modules_to_save
    listed = config.target_modules if not isinstance(config.target_modules, str) else []
    for name in [] if left_out_on_purpose else listed or []:
        if not any(matches(path, [name]) for path in targets):
            raise ValueError(
                f"target_modules={name!r} matches, but "
                f"layers_to_transform={config.layers_to_transform!r} leaves none of it over; "
                f"{nearest(name, {path.rpartition('.')[2] for path in targets})}"
            )
    numbers = {layer_number(path, config) for path in targets} - {None}
    for number in chosen_layers(config):
        if number not in numbers:
            there = ", ".join(str(known) for known in sorted(numbers))
            raise ValueError(
                f"layers_to_transform={number!r} holds none of the targets; those are in {there}"
            )
    for option in config.patterns:
        for key in getattr(config, option):
            if not any(names(key, path) for path in targets):
                known = {path.rpartition(".")[2] for path in targets}
                raise ValueError(f"{option}={key!r} matches no target; {nearest(key, known)}")


def find_targets(model: nn.Module, config: LayerConfig) -> dict[str, nn.Module]:
    """The layers that get a tuner, by their dotted name, in the model's order.

    Raises ValueError for a name that matches nothing (with the nearest names there are), for a
    module that is not a linear layer, and where the other options leave nothing over.
    """
    modules = modules_by_name(model, remove_duplicate=False)  # a shared layer has two names
    wanted = config.target_modules
    if not wanted and (wanted is not None or config.needs_targets):
        known = endings(modules, config)
        raise ValueError(f"target_modules={wanted!r}: name them; {nearest('', known)}")
    for option, stranger in unmatched_names(modules, config):
        known = endings(modules, config)
        if option == "modules_to_save":
            known = {path.rpartition(".")[2] for path in modules if path}
        said = f"{option}={stranger!r} matches no module of {type(model).__name__}; "
        raise ValueError(said + (as_list(config, option, known) or nearest(stranger, known)))
    if wanted is None:
        return {}
    saved = modules_to_save(model, config)
    found = {
        path: module
        for path, module in modules.items()
        if matches(path, wanted)
        and (isinstance(wanted, str) or in_chosen_layers(path, config))
        and not matches(path, config.exclude_modules)
        and not is_below(path, saved)
    }
    if not found:
        raise ValueError(
            f"target_modules={wanted!r} matches, but exclude_modules={config.exclude_modules!r}, "
            f"modules_to_save={config.modules_to_save!r} and "
            f"layers_to_transform={config.layers_to_transform!r} leave no layer over"
        )
    for path, module in found.items():
        check_target(modules, path, module, config)
    first = {id(module): path for path, module in reversed(found.items())}
    return {path: module for path, module in found.items() if first[id(module)] == path}


def as_list(config: LayerConfig, option: str, known: set[str]) -> str:
    """What to write where one string holds names, as in "q_proj" or "q_proj, v_proj"; or ""."""
    value = getattr(config, option, None)
    meant = re.split(r"[\s,;|]+", value.strip("()[] ")) if isinstance(value, str) else []
    if not meant or not set(meant) <= known:
        return ""
    return f"a string is a regular expression for the whole name; write a list: {option}={meant}"


def endings(modules: dict[str, nn.Module], config: LayerConfig) -> set[str]:
    """The last names of what can be a target: what a student would write as one."""
    fits = (path for path, module in modules.items() if is_linear(module) or config.accepts(module))
    return {path.rpartition(".")[2] for path in fits if path}


def unmatched_names(
    modules: dict[str, nn.Module], config: LayerConfig
) -> Iterator[tuple[str, str]]:
    """The names and patterns in a config that match no module, each with its option."""
    for option in ("target_modules", "exclude_modules"):
        value = getattr(config, option) or []
        for name in [value] if isinstance(value, str) else value:
            form = name if isinstance(value, str) else [name]
            if not any(matches(path, form) for path in modules):
                yield option, name
    for option in config.patterns:
        for key in getattr(config, option):
            if not any(names(key, path) for path in modules):
                yield option, key
    for name in config.modules_to_save or []:
        if not any(matches(path, [name]) for path in modules):
            yield "modules_to_save", name


def without_unmatched_names(model: nn.Module, config: LayerConfig) -> LayerConfig:
    """A file's config less the names that match nothing.

    peft writes such names: "score" beside "classifier" for every SEQ_CLS model. What the adapter
    really holds is said by its tensors, and those must all fit.
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


def is_called(modules: dict[str, nn.Module], path: str) -> bool:
    """nn.MultiheadAttention reads out_proj.weight itself and never calls the layer."""
    return not isinstance(unwrapped(modules[path.rpartition(".")[0]]), nn.MultiheadAttention)


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


def check_target(
    modules: dict[str, nn.Module], path: str, module: nn.Module, config: LayerConfig
) -> None:
    """Raise ValueError unless a tuner on this module would be seen by the model."""
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


# What a linear layer's numbers are stored as; 8 bits of any kind are codes with a scale.
DENSE_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


# A classifier's head is new, so it must be trained and saved too (peft's convention).
HEADS = {
    "SEQ_CLS": ["classifier", "score"],
    "TOKEN_CLS": ["classifier", "score"],
    "QUESTION_ANS": ["qa_outputs"],
}


def modules_to_save(model: nn.Module, config: PeftConfig) -> dict[str, nn.Module]:
    """The modules that are trained in full, outermost first and none inside another."""
    modules = modules_by_name(model)
    wanted = list(getattr(config, "modules_to_save", None) or []) + HEADS.get(config.task_type, [])
    found: dict[str, nn.Module] = {}
    for path, module in modules.items():
        if matches(path, wanted) and not is_below(path, found):
            found[path] = module
    return found


def check_head(model: nn.Module, config: PeftConfig, saved: dict[str, nn.Module]) -> None:
    """Raise ValueError where a new classifier's head would stay as random as it is."""
    heads = HEADS.get(config.task_type, [])
    if heads and not saved:
        known = {path.rpartition(".")[2] for path in modules_by_name(model) if path}
        raise ValueError(
            f"task_type={config.task_type!r}: {type(model).__name__} has no module called "
            f"{' or '.join(heads)}, so its head would not be trained; name it in modules_to_save; "
            f"{nearest(heads[0], known)}"
        )
