"""What the grader takes from the notebooks in solutions/ and exercises/, where they are at hand.

They lie beside the package in a clone of the course, not in an installed package.
"""

import json
import re
from pathlib import Path

from ..notebook import Unreadable, read
from ..tasks import Exercise

ROOT = Path(__file__).resolve().parents[3]
CHECKS_OWN = 0  # the seed of the instant checks


def _text(folder: str, exercise: Exercise) -> str:
    try:
        return (ROOT / folder / f"{exercise.notebook}.ipynb").read_text(encoding="utf-8")
    except OSError:
        return ""


def right_answers(exercise: Exercise) -> dict[str, str]:
    """Task -> the source of its cell in the solution; empty where there is no solution."""
    try:
        cells = read(_text("solutions", exercise).encode()).cells
    except Unreadable:
        return {}
    names = {task.name for task in exercise.tasks}
    return {cell.grade_id: cell.source for cell in cells if cell.grade_id in names}


def given_code(exercise: Exercise) -> list[str]:
    """The cells of code as students got them."""
    try:
        return [cell.source for cell in read(_text("exercises", exercise).encode()).cells]
    except Unreadable:
        return []


def public_seeds(exercise: Exercise) -> set[int]:
    """Seeds that everybody can read: those of the instant checks and of the solution's own."""
    text = json.dumps(_text("solutions", exercise))
    return {CHECKS_OWN, *map(int, re.findall(r"\bseed=(\d+)", text))}
