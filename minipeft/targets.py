"""Which modules a config means: names by suffix, by regular expression, or "all-linear"."""

import re

from torch import nn

from minipeft.adapted import AdaptedLinear, is_linear
from minipeft.configs import PeftConfig
from minipeft.errors import nearest

Patterns = list[str] | str | None


def matches(path: str, patterns: Patterns) -> bool:
    """Whether a dotted name is meant: a string is a regex for all of it, a list holds endings.

    An ending must start at a dot: "v_proj" means "layers.0.v_proj" and not "layers.0.kv_proj".
    """
    if not patterns:
        return False
    if isinstance(patterns, str):
        return re.fullmatch(patterns, path) is not None
    return any(path == ending or path.endswith(f".{ending}") for ending in patterns)


def is_below(path: str, tops: list[str]) -> bool:
    """Whether a dotted name is one of `tops` or inside one."""
    return any(path == top or path.startswith(f"{top}.") for top in tops)


def expand_all_linear(model: nn.Module, config: PeftConfig) -> list[str]:
    """Every linear layer but the output head (and, in a classifier, the classification head)."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is None and config.task_type == "SEQ_CLS":
        head = getattr(model, "score", getattr(model, "classifier", None))
    names = [
        name for name, layer in model.named_modules() if is_linear(layer) and layer is not head
    ]
    if not names:
        raise ValueError(f"target_modules='all-linear': {type(model).__name__} has no linear layer")
    return names


def in_chosen_layers(path: str, config: PeftConfig) -> bool:
    """Whether layers_to_transform, if given, names the first layer number in this path."""
    chosen = config.layers_to_transform
    if chosen is None or chosen == []:
        return True
    lists = config.layers_pattern or [r"[^.]*"]
    lists = [lists] if isinstance(lists, str) else lists
    found = (re.match(rf"(?:^|.*?\.){name}\.(\d+)\.", path) for name in lists)
    number = next((int(hit[1]) for hit in found if hit), None)
    return number == chosen if isinstance(chosen, int) else number in chosen


def find_targets(model: nn.Module, config: PeftConfig) -> dict[str, nn.Module]:
    """The layers that get a tuner, by their dotted name, in the model's order.

    Raises ValueError for a name that matches nothing (with the nearest names there are), for a
    module that is not a linear layer, and where the other options leave nothing over.
    """
    modules = dict(model.named_modules(remove_duplicate=False))  # a shared layer has two names
    wanted = config.target_modules
    if not wanted:
        raise ValueError(f"target_modules={wanted!r}: name them; {nearest('', endings(modules))}")
    for pattern in [wanted] if isinstance(wanted, str) else wanted:
        form = pattern if isinstance(wanted, str) else [pattern]
        if not any(matches(path, form) for path in modules):
            raise ValueError(
                f"target_modules={pattern!r} matches no module of {type(model).__name__}; "
                f"{nearest(pattern, endings(modules))}"
            )
    saved = modules_to_save(model, config)
    found = {
        path: module
        for path, module in modules.items()
        if matches(path, wanted)
        and (isinstance(wanted, str) or in_chosen_layers(path, config))
        and not matches(path, config.exclude_modules)
        and not is_below(path, list(saved))
    }
    if not found:
        raise ValueError(
            f"target_modules={wanted!r} matches, but exclude_modules={config.exclude_modules!r}, "
            f"modules_to_save={config.modules_to_save!r} and "
            f"layers_to_transform={config.layers_to_transform!r} leave no layer over"
        )
    for path, module in found.items():
        check_target(modules, path, module)
    first = {id(module): path for path, module in reversed(found.items())}
    return {path: module for path, module in found.items() if first[id(module)] == path}


def endings(modules: dict[str, nn.Module]) -> set[str]:
    """The last names of the linear layers: what a student would write as a target."""
    return {path.rpartition(".")[2] for path, module in modules.items() if is_linear(module)}


def check_target(modules: dict[str, nn.Module], path: str, module: nn.Module) -> None:
    """Raise ValueError unless a tuner on this module would be seen by the model."""
    if isinstance(module, AdaptedLinear):
        raise ValueError(f"{path} carries an adapter already; use add_adapter on its PeftModel")
    if not is_linear(module):
        inside = {name for name in modules if name.startswith(f"{path}.")}
        linear = {name: modules[name] for name in inside if is_linear(modules[name])}
        hint = nearest(path, endings(linear) or endings(modules))
        raise ValueError(
            f"target {path!r} is a {type(module).__name__}, not a linear layer; {hint}. To train "
            "it in full, name it in modules_to_save"
        )
    owner = modules[path.rpartition(".")[0]]
    if isinstance(owner, nn.MultiheadAttention):
        raise ValueError(
            f"target {path!r}: nn.MultiheadAttention reads its weight past the layer's forward, "
            "so an adapter there would do nothing; choose another layer"
        )


# A classifier's head is new, so it must be trained and saved too (peft's convention).
HEADS = {
    "SEQ_CLS": ["classifier", "score"],
    "TOKEN_CLS": ["classifier", "score"],
    "QUESTION_ANS": ["qa_outputs"],
}


def modules_to_save(model: nn.Module, config: PeftConfig) -> dict[str, nn.Module]:
    """The modules that are trained in full, outermost first and none inside another.

    Raises ValueError for a name that matches nothing.
    """
    modules = dict(model.named_modules())
    named = list(config.modules_to_save or [])
    for name in named:
        if not any(matches(path, [name]) for path in modules):
            last = {path.rpartition(".")[2] for path in modules if path}
            raise ValueError(f"modules_to_save={name!r} matches no module; {nearest(name, last)}")
    wanted = named + HEADS.get(config.task_type, [])
    found: dict[str, nn.Module] = {}
    for path, module in modules.items():
        if matches(path, wanted) and not is_below(path, list(found)):
            found[path] = module
    return found
