"""A failing case says what it handed to the function, in the check and on the student's page."""

import inspect
import json

import numpy as np
import pytest
import torch

from minipeft.grading import NotYet, checks
from minipeft.grading.arguments import arguments, in_words
from minipeft.grading.compare import judge
from minipeft.grading.desk.late import Rule
from minipeft.grading.desk.marks import marks
from minipeft.grading.exercises import NUMBERS, exercise
from minipeft.grading.exercises.solutions import right_answers
from minipeft.grading.limits import Limits
from minipeft.grading.pages.student import student_page
from minipeft.grading.results import Result, Verdict

from .handing_in import EXERCISE
from .test_desk import handed

TASKS = [
    pytest.param(number, task, id=f"{number}-{task.name}")
    for number in NUMBERS
    for task in exercise(number).tasks
]


def told(number, task, function):
    with pytest.raises(NotYet) as caught:
        getattr(checks(number), task.name)(function)
    return str(caught.value)


@pytest.mark.parametrize(("number", "task"), TASKS)
def test_a_failing_case_names_its_arguments_as_the_notebook_does(number, task):
    namespace = {"torch": torch, "np": np}
    exec(right_answers(exercise(number))[task.name], namespace)
    parameters = list(inspect.signature(namespace[task.name]).parameters)
    message = told(number, task, lambda *given: "no such answer")
    if task.from_sheet:
        assert "Case 1 has" not in message
    else:
        assert "\nCase 1 has " in message
        assert all(f"{name} = " in message for name in parameters)


def test_the_first_case_that_is_wrong_is_told():
    task = EXERCISE.task("count_lora")
    right = task.answer
    message = told("03", task, lambda *given: 0 if "down_proj" in given[-1] else right(*given))
    layers, hidden, *_ = task.inputs(0, {})[1]
    assert f"Case 2 has layers = {layers}, hidden = {hidden}, heads = " in message
    assert "targets = ['k_proj', 'down_proj']." in message


def test_a_named_mistake_has_its_case_as_well():
    message = told("03", EXERCISE.task("merge"), lambda weight, A, B, alpha: weight + B @ A)
    mistake, case = message.rsplit("\n", 1)
    assert mistake.startswith("The scale was dropped")
    assert case.startswith("Case 1 has weight = a tensor of shape (6, 6) (") and "alpha = " in case


def test_a_sheets_answers_are_told_nowhere():
    sheet = EXERCISE.sheet_for("ada")
    task = EXERCISE.task("my_counts")
    right = task.answer(sheet)
    verdict = judge(task, task.inputs(5, sheet), [{**right, "attention": 1}])
    assert verdict.case == ""
    assert not any(str(number) in verdict.message for number in right.values())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "3"),
        (np.float64(0.5), "0.5"),
        (["q", None, True], "['q', None, True]"),
        ({"a": [1, 2.5]}, "{'a': [1, 2.5]}"),
        (np.arange(3), "a tensor of shape (3,) (0, 1, 2)"),
        (np.full((2, 3), 1 / 3), "a tensor of shape (2, 3) (0.3333, 0.3333, 0.3333, 0.3333, ...)"),
        (list(range(99)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...]"),
    ],
)
def test_values_in_words(value, words):
    assert in_words(value) == words


def test_a_case_stays_short():
    task = EXERCISE.task("find_targets")
    assert len(arguments(task, [["x" * 300] * 99, ["y"] * 99], 1)) < 1000


def test_the_students_page_shows_the_case():
    task = EXERCISE.task("find_targets")
    cases = task.inputs(5, {})
    verdicts = {t.name: Verdict(True, t.why, t.points) for t in EXERCISE.tasks}
    verdicts[task.name] = judge(task, cases, [names for names, _ in cases])
    stored = Result.from_json(Result("ada", verdicts).to_json())
    (mark,) = marks([(handed("ada"), stored)], EXERCISE, {}, Rule())
    page = student_page(mark, EXERCISE, Rule(), Limits())
    assert "Case 1 has names = [&#x27;" in page
    assert f"targets = {json.dumps(cases[0][1])}".replace('"', "&#x27;") in page
