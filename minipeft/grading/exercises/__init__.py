"""The exercises that there are, by the number of their lesson: one folder `lesson_NN` each."""

import importlib
import pkgutil

from ...core.errors import nearest
from ..tasks import Exercise

_PREFIX = "lesson_"
_FOLDERS = sorted(module.name for module in pkgutil.iter_modules(__path__))
NUMBERS = tuple(name.removeprefix(_PREFIX) for name in _FOLDERS if name.startswith(_PREFIX))


def exercise(number: str) -> Exercise:
    """The exercise of a lesson. Raises ValueError for a lesson that has none."""
    if number not in NUMBERS:
        raise ValueError(f"there is no exercise {number!r}; {nearest(number, NUMBERS)}")
    return importlib.import_module(f".{_PREFIX}{number}", __package__).EXERCISE
