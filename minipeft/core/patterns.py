"""How a config names layers, and gives some of them other values; read as peft reads it."""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from minipeft.core.errors import check_regex, nearest

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


def is_below(path: str, tops: Iterable[str]) -> bool:
    """Whether a dotted name is one of `tops` or inside one."""
    return any(path == top or path.startswith(f"{top}.") for top in tops)


def check_pattern(name: str, pattern: object) -> None:
    """Raise ValueError unless `pattern` is {name or regex: value}."""
    if not isinstance(pattern, dict):
        raise ValueError(f"{name}={pattern!r} must be {{name or regex: value}}")
    for key in pattern:
        check_regex(name, key)


def names(key: str, path: str) -> bool:
    """Whether a pattern's key, a name or a regex, matches `path` or its end after a dot."""
    return re.match(rf"(.*\.)?({key})$", path) is not None


def by_pattern(pattern: dict[str, float], path: str, otherwise: float) -> float:
    """The value of the first key that names `path`."""
    return next((value for key, value in pattern.items() if names(key, path)), otherwise)


def sortable(pattern: dict[str, float], paths: Iterable[str]) -> dict[str, float]:
    """A pattern that gives these layers the same values whichever of its keys comes first.

    A file's keys are sorted, and where two keys name one layer the first counts: such a pattern
    is written out layer by layer. (peft sorts them as well and then can't open its own file.)
    """
    values = {path: by_pattern(pattern, path, None) for path in paths}
    again = dict(sorted(pattern.items()))
    if all(by_pattern(again, path, None) == value for path, value in values.items()):
        return pattern
    return {f"^{re.escape(path)}": value for path, value in values.items() if value is not None}


def of_family(model: nn.Module, families: dict[str, Any], option: str) -> Any:
    """The entry of a model's family in a table. Raises ValueError, asking for `option`, if none."""
    family = getattr(getattr(model, "config", None), "model_type", None)
    if family not in families:
        raise ValueError(
            f"{option}=None has no meaning for {type(model).__name__} (model_type={family!r}): "
            f"name them; families that need no names: {nearest(family, families, 40)}"
        )
    return families[family]
