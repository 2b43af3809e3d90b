"""The exercise that was handed in is recognised by its tasks, whatever else lies beside."""

import json
import zipfile

import pytest

from minipeft.grading.exercises import NUMBERS, exercise
from minipeft.grading.handins import recognised
from minipeft.grading.tasks import Exercise, Task

from .handing_in import ROOT, SOLUTION, code_cell


def made_up(number, *names):
    tasks = [Task(name, name, 1, list, list, (), "") for name in names]
    return Exercise(number=number, notebook=f"{number}_made_up", tasks=tasks)


ALL = [
    made_up("01", "count_bytes", "merge"),
    made_up("03", "merge", "lora_forward", "lora_start"),
    made_up("12", "merge", "weighted_sum"),
]


def hand_in(folder, name, *cells):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": list(cells)}), encoding="utf-8")


@pytest.mark.parametrize("number", NUMBERS)
def test_each_exercise_is_recognised_by_its_own_notebook(number, tmp_path):
    source = ROOT / "solutions" / f"{exercise(number).notebook}.ipynb"
    (tmp_path / "ada.ipynb").write_bytes(source.read_bytes())
    assert recognised(tmp_path, [exercise(other) for other in NUMBERS]) == number


def test_by_ids_by_functions_and_by_the_majority(tmp_path):
    hand_in(tmp_path, "ada", code_cell("", grade_id="merge"), code_cell("", grade_id="lora_start"))
    hand_in(tmp_path, "bob", code_cell("def merge(w):\n  pass\ndef lora_forward (x): pass"))
    hand_in(tmp_path, "eve", code_cell("def lora_start(d):\n    pass"))
    hand_in(tmp_path, "mal", code_cell("def weighted_sum(x): pass"))
    (tmp_path / "zoe.ipynb").write_bytes(b"\xff\xfe not a notebook")
    assert recognised(tmp_path, ALL) == "03"


def test_a_tie_is_for_a_person_to_break(tmp_path):
    hand_in(tmp_path, "ada", code_cell("def count_bytes(x): pass"))
    hand_in(tmp_path, "bob", code_cell("def weighted_sum(x): pass"))
    with pytest.raises(ValueError, match=r"as many notebooks of exercise .* --exercise"):
        recognised(tmp_path, ALL)


def test_nothing_is_recognised_where_there_is_nothing(tmp_path):
    hand_in(tmp_path, "ada", code_cell("print('hello')"))
    hand_in(tmp_path, "bob")
    (tmp_path / "empty.ipynb").write_bytes(b"")
    assert recognised(tmp_path, ALL) == ""


def test_within_a_zip_as_a_platform_sends_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("ada_1_2_x.ipynb", json.dumps(SOLUTION))
    assert recognised(tmp_path / "all.zip", ALL) == "03"
