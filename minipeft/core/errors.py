"""How the course words a mistake: the thing, its value, and the nearest valid choice."""

import difflib
import math
import re
from collections.abc import Iterable


def nearest(name: object, choices: Iterable[str], most: int = 8) -> str:
    """The end of an error message: the choices closest to `name`, or all where none is close.

    >>> nearest("q_porj", ["q_proj", "k_proj", "embed_tokens"])
    "nearest: 'q_proj', 'k_proj'"
    """
    choices = sorted(set(choices))
    if not choices:
        return "there is nothing to choose from"
    close = difflib.get_close_matches(str(name), choices, n=5, cutoff=0.5)
    shown = close or choices[:most]
    names = ", ".join(repr(choice) for choice in shown)
    more = "" if close or len(choices) <= most else f", ... ({len(choices)} in all)"
    return f"{'nearest' if close else 'choose from'}: {names}{more}"


def check_choice(name: str, value: object, choices: list) -> None:
    """Raise ValueError unless `value` is one of `choices` (True is not 1 here)."""
    if not any(
        value is choice or (value == choice and type(value) is type(choice)) for choice in choices
    ):
        shown = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}={value!r} is not known; choose from {shown}")


def check_number(name: str, value: object) -> None:
    """Raise ValueError unless `value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}={value!r} must be a finite number, say 16")


def check_whole(name: str, value: object, smallest: int) -> None:
    """Raise ValueError unless `value` is a whole number, at least `smallest`."""
    if type(value) is not int or value < smallest:
        raise ValueError(f"{name}={value!r} must be a whole number; the smallest is {smallest}")


def check_dropout(name: str, value: object) -> None:
    """Raise ValueError unless `value` is a probability below 1."""
    check_number(name, value)
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value!r} must be in [0, 1), say 0.05")


def check_regex(name: str, value: str) -> None:
    """Raise ValueError unless `value` is a regular expression."""
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{name}={value!r} is no regular expression: {error}") from error


def check_list(name: str, value: object, kind: type) -> None:
    """Raise ValueError unless `value` is None or a collection of `kind`."""
    listed = isinstance(value, list | tuple | set | frozenset)
    if value is not None and not (listed and all(type(item) is kind for item in value)):
        raise ValueError(f"{name}={value!r} must be a list of {kind.__name__}, [...], or None")
