"""The arguments of a failing case in words, so that a student can try it again."""

import inspect
from collections.abc import Callable

import numpy as np

from .tasks import Recorded, Task

LONGEST = 600  # characters of one argument
ENTRIES = 10  # of a list or dictionary that are shown
NUMBERS = 4  # of an array that are shown


def arguments(task: Task, case: list, number: int) -> str:
    """What one case hands to the function; "" where that is nothing, as for a sheet's answers."""
    if task.from_sheet or not case:
        return ""
    names = parameters(task.answer)[: len(case)]
    names += [f"argument {place + 1}" for place in range(len(names), len(case))]
    told = (f"{name} = {_cut(in_words(value))}" for name, value in zip(names, case, strict=True))
    return f"Case {number} has {', '.join(told)}."


def parameters(answer: Callable | Recorded) -> list[str]:
    """The names of a function's parameters, in the order in which a case fills them."""
    if isinstance(answer, Recorded):
        return list(answer.parameters)
    filled = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = inspect.signature(answer).parameters.values()
    return [parameter.name for parameter in found if parameter.kind in filled]


def in_words(value: object) -> str:
    """A small value as Python writes it, an array by its shape and first numbers."""
    if isinstance(value, np.ndarray | np.generic):
        return repr(value.item()) if value.ndim == 0 else _array_in_words(value)
    if isinstance(value, dict):
        return f"{{{_first([f'{key!r}: {in_words(item)}' for key, item in value.items()])}}}"
    if isinstance(value, list | tuple):
        return f"[{_first([in_words(item) for item in value])}]"
    return repr(value)


def _array_in_words(array: np.ndarray) -> str:
    numbers = [f"{number + 0:.4g}" for number in array.ravel()[: NUMBERS + 1]]
    return f"a tensor of shape {array.shape} ({_first(numbers, NUMBERS)})"


def _first(items: list[str], most: int = ENTRIES) -> str:
    return ", ".join([*items[:most], "..."] if len(items) > most else items)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
