"""The exercises as a student meets them; also in the students' copy, which has no answers."""

import json
from pathlib import Path

import pytest

from minipeft.grading import NotYet, checks
from minipeft.grading.exercises import NUMBERS, exercise

FOLDER = Path(__file__).resolve().parents[2] / "exercises"
TASKS = [(number, task) for number in NUMBERS for task in exercise(number).tasks]


@pytest.mark.parametrize(("number", "task"), TASKS, ids=[f"{n}-{t.name}" for n, t in TASKS])
def test_a_check_meets_the_stub_with_a_helpful_message(number, task):
    text = (FOLDER / f"{exercise(number).notebook}.ipynb").read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    about = [cell["metadata"].get("nbgrader", {}).get("grade_id") for cell in cells]
    namespace = {}
    exec("".join(cells[about.index(task.name)]["source"]), namespace)
    with pytest.raises(NotYet) as caught:
        getattr(checks(number), task.name)(namespace[task.name])
    assert str(caught.value)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_sheet_is_drawn_from_an_id(number, capsys):
    asked = exercise(number)
    if asked.has_sheets:
        assert checks(number).sheet("ada") == asked.sheet_for(" Ada ")
        assert "ada" in capsys.readouterr().out
        with pytest.raises(ValueError, match="your student id"):
            checks(number).sheet(" ")
