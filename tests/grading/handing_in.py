"""Makes submissions for the tests: the solution, with some of its cells replaced."""

import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from minipeft.grading import sandbox
from minipeft.grading.exercises import exercise
from minipeft.grading.notebook import Cell

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "solutions" / "03_lora_from_scratch.ipynb"
EXERCISE = exercise("03")
SOLUTION = json.loads(SOURCE.read_text(encoding="utf-8"))
# three of its tasks, in numpy: the same cells answer them, and no worker imports torch
NAMES = ("lora_forward", "merge", "count_lora")
SMALL = replace(EXERCISE, tasks=[EXERCISE.task(name) for name in NAMES], preload=("numpy",))


def why_no_sandbox() -> str | None:
    """Why sandboxed grading cannot be tested here; None where it can."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (Linux: apt install bubblewrap)"
    try:
        sandbox.check()
    except sandbox.NoSandbox as error:
        return str(error).partition(". ")[0]
    return None


needs_sandbox = pytest.mark.skipif(why_no_sandbox() is not None, reason=f"{why_no_sandbox()}")


def grade_id(cell: dict) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def answers_of(student: str) -> dict[str, str]:
    """The right cells of one student: those of the solution, with the student's own numbers."""
    right = EXERCISE.task("my_counts").answer(EXERCISE.sheet_for(student))
    return {
        "my_id": f"def my_id():\n    return {student!r}\n\nsheet = check.sheet(my_id())",
        "my_counts": f"def my_counts():\n    return {right!r}",
    }


def notebook(student: str, cells: Mapping[str, str | None] = {}) -> dict:
    """The solution as `student` would hand it in; `cells` replaces some, or drops them (None)."""
    made = copy.deepcopy(SOLUTION)
    replaced = answers_of(student) | dict(cells)
    made["cells"] = [c for c in made["cells"] if replaced.get(grade_id(c), "") is not None]
    for cell in made["cells"]:
        cell["source"] = replaced.get(grade_id(cell), cell["source"])
    return made


def small_notebook(cells: Mapping[str, str | None] = {}) -> dict:
    """A notebook for SMALL: the solution's cells of its tasks, some replaced or dropped."""
    made = notebook("anyone", cells)
    made["cells"] = [cell for cell in made["cells"] if grade_id(cell) in NAMES]
    return made


def code_cell(source: str, **nbgrader: object) -> dict:
    metadata = {"nbgrader": nbgrader} if nbgrader else {}
    return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": []}


def hand_in(folder: Path, student: str, made: dict | bytes) -> Path:
    """Write one submission in nbgrader's layout; returns its path."""
    path = folder / student / EXERCISE.notebook / f"{EXERCISE.notebook}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_bytes(made if isinstance(made, bytes) else json.dumps(made).encode())
    return path


def as_cells(*sources: str) -> list[Cell]:
    return [Cell(index, source) for index, source in enumerate(sources)]
