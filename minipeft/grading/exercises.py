"""The exercises that there are, by the number of their lesson."""

import importlib

from ..core.errors import nearest
from .tasks import Exercise

NUMBERS = ("03",)


def exercise(number: str) -> Exercise:
    """The exercise of a lesson. Raises ValueError for a lesson that has none."""
    if number not in NUMBERS:
        raise ValueError(f"there is no exercise {number!r}; {nearest(number, NUMBERS)}")
    return importlib.import_module(f".exercise_{number}", __package__).EXERCISE
