"""Other values for some layers: rank_pattern and alpha_pattern, read as peft reads them."""

import re
from collections.abc import Iterable

from minipeft.errors import check_regex


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
