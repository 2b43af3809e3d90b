"""Which modules a config means: names by suffix, by regular expression, or "all-linear"."""

import re
from collections.abc import Callable, Iterator
from functools import partial

from torch import nn

from minipeft.core.config import LayerConfig, PeftConfig
from minipeft.core.linear import is_linear
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
        raise ValueError(f"target_modules='all-linear': {type(model).__name__} has no linear layer")
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


def find_targets(model: nn.Module, config: LayerConfig) -> dict[str, nn.Module]:
    """The layers that get a tuner, by their dotted name, in the model's order.

    A layer that two modules share goes by its first name.
    """
    wanted, saved = config.target_modules, modules_to_save(model, config)
    found = {
        path: module
        for path, module in modules_by_name(model, remove_duplicate=False).items()
        if matches(path, wanted)
        and (isinstance(wanted, str) or in_chosen_layers(path, config))
        and not matches(path, config.exclude_modules)
        and not is_below(path, saved)
    }
    first = {id(module): path for path, module in reversed(found.items())}
    return {path: module for path, module in found.items() if first[id(module)] == path}


def entries(config: LayerConfig) -> Iterator[tuple[str, str, Callable[[str], bool]]]:
    """Each name and pattern in a config, as (option, name, whether the name matches a path)."""
    for option in ("target_modules", "exclude_modules", "modules_to_save"):
        value = getattr(config, option) or []
        for name in [value] if isinstance(value, str) else value:
            form = name if isinstance(value, str) else [name]
            yield option, name, partial(matches, patterns=form)
    for option in config.patterns:
        for key in getattr(config, option):
            yield option, key, partial(names, key)


def unmatched_names(
    modules: dict[str, nn.Module], config: LayerConfig
) -> Iterator[tuple[str, str]]:
    """The names and patterns in a config that match no module, each with its option."""
    for option, name, means in entries(config):
        if not any(means(path) for path in modules):
            yield option, name


def is_called(modules: dict[str, nn.Module], path: str) -> bool:
    """False for out_proj of nn.MultiheadAttention, which reads out_proj.weight instead."""
    return not isinstance(unwrapped(modules[path.rpartition(".")[0]]), nn.MultiheadAttention)


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
