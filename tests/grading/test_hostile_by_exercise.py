"""What no exercise may give points for, end on, or let out: values that are no answer; attacks.

The attacks of `hostile.py` are many, and against the grader. Here are few, against each exercise:
its own comparisons, and what a submission could find of its answers.
"""

import copy
import csv
import json
import math
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from minipeft.__main__ import main
from minipeft.grading import grade
from minipeft.grading.compare import judge
from minipeft.grading.exercises import NUMBERS, exercise
from minipeft.grading.exercises.solutions import right_answers
from minipeft.grading.sandboxed.protocol import Raised

from .handing_in import ROOT, grade_id, needs_sandbox
from .hostile import FORGES, IMPORTS, OTHERS_INPUTS, READS, SENDS, attempted
from .worked_out import worked_out

TASKS = [
    pytest.param(exercise(number), task, id=f"{number}-{task.name}")
    for number in NUMBERS
    for task in exercise(number).tasks
]
BIG = np.random.default_rng(0).random(100_000)
VALUES = {
    "nothing": None,
    "nan": math.nan,
    "infinity": math.inf,
    "the largest integer": 2**63 - 1,
    "text": "no such answer",
    "long text": "x" * 1_000_000,
    "an empty list": [],
    "an empty dictionary": {},
    "an empty array": np.zeros((0, 3)),
    "no rows of many": np.zeros((0, 1 << 24)),
    "an array of nan": np.full((3, 3), np.nan),
    "truth values": np.ones((3, 3), bool),
    "a pair of nothing": [None, None],
    "pairs of pairs": [[[np.zeros(3)] * 2] * 2] * 2,
    "one array 19,000 times": [[BIG] * 19_000, BIG],
    "a dictionary of arrays": {str(key): BIG for key in range(1_000)},
    "an exception": Raised("ValueError", "<b>", ("ValueError", "Exception"), "f"),
    "an exception of no kind": Raised("", "", (), ""),
}

HEAVY = ("no rows of many", "one array 19,000 times", "a dictionary of arrays")


@pytest.mark.parametrize(("asked", "task"), TASKS)
def test_a_value_that_is_no_answer_earns_nothing_and_costs_little(asked, task):
    known, cases = worked_out(asked.number, task.name, 5, "ada")
    for name, value in VALUES.items():
        began = time.process_time()
        for answers in ([value] * len(cases), [[value] * 2] * len(cases), [value], []):
            verdict = judge(known, cases, answers)
            assert verdict.points == 0, (name, verdict)
            assert len(verdict.message) < 2_000 and len(verdict.case) < 10_000, name
        assert time.process_time() - began < 30, name
        if name in HEAVY:
            assert memory_of(known, cases, value) < 200 << 20, name


def memory_of(task, cases, value):
    """The bytes at most while a value is judged, of one case: tracing is slow."""
    tracemalloc.start()
    for answers in ([value], [[value] * 2]):
        judge(task, cases, answers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


LOOKS = attempted(READS) + "seen = found\n" + attempted(IMPORTS) + "seen = found or seen\n"
ATTACKS = {
    "finds-a-reference": (LOOKS, ""),
    "finds-other-inputs": ("", OTHERS_INPUTS + "seen = found"),
    "forges-messages": ("", SENDS + FORGES),
    "exits": ("", "import os; os._exit(0)"),
}


def attack(name, right, cell, call):
    """The cell of a task that is right only if the attack has `seen` something."""
    body = "\n".join(f"    {line}" for line in call.strip().splitlines())
    return (
        f"seen = False\n{cell}\n{right}\nright_one = {name}\n\n"
        f"def {name}(*given, **named):\n    global seen\n{body}\n"
        "    return right_one(*given, **named) if seen else None\n"
    )


def handed_in(asked, cells):
    """The solution with some cells replaced."""
    path = ROOT / "solutions" / f"{asked.notebook}.ipynb"
    made = copy.deepcopy(json.loads(path.read_text(encoding="utf-8")))
    for cell in made["cells"]:
        cell["source"] = cells.get(grade_id(cell), cell["source"])
    return json.dumps(made)


@pytest.mark.sandbox
@needs_sandbox
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", NUMBERS)
def test_an_attack_on_an_exercise_costs_its_own_points(number, tmp_path, monkeypatch):
    whole, answers = exercise(number), right_answers(exercise(number))
    target, other = [task for task in whole.tasks if not task.from_sheet][:2]
    small = replace(whole, tasks=[target, other], by_hand=[])
    monkeypatch.setattr(grade, "exercise", lambda number: small)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "right.ipynb").write_text(handed_in(whole, {}))
    for name, (cell, call) in ATTACKS.items():
        source = attack(target.name, answers[target.name], cell, call or "pass")
        (tmp_path / "in" / f"{name}.ipynb").write_text(handed_in(whole, {target.name: source}))
    command = ["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--seed", "42"]
    assert main([*command, "--task-seconds", "4"]) == 0
    with (tmp_path / "out" / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores.pop("right") == small.points
    assert scores == dict.fromkeys(ATTACKS, other.points)


def test_the_attacks_would_win_if_they_found_something():
    source = attack("double", "def double(x):\n    return 2 * x", "seen = True", "pass")
    namespace = {}
    exec(source, namespace)
    assert namespace["double"](4) == 8
    exec(attack("double", "def double(x):\n    return 2 * x", "", "pass"), namespace)
    assert namespace["double"](4) is None
