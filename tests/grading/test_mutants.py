"""The checkers checked: a right answer with one small change is not right any more."""

import ast
import functools
import json
import math
import tomllib
import warnings
from pathlib import Path

import numpy
import pytest
import torch

from minipeft.grading.compare import judge
from minipeft.grading.exercises import NUMBERS, exercise
from minipeft.grading.exercises.solutions import right_answers
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT, grade_id
from .mutants import mutants
from .worked_out import worked_out

SEED = 20270101
LEAST = 0.95
GIVEN = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
TASKS = [(number, name) for number in NUMBERS for name in sorted(right_answers(exercise(number)))]
every_exercise = pytest.mark.parametrize("number", NUMBERS)


def given(number):
    """The imports, definitions and constants that the notebook's other cells hold for all tasks."""
    namespace = {"torch": torch, "math": math, "np": numpy, "numpy": numpy, "nn": torch.nn}
    path = ROOT / "solutions" / f"{exercise(number).notebook}.ipynb"
    answers = right_answers(exercise(number))
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code" or grade_id(cell) in answers:
            continue
        for statement in ast.parse("".join(cell["source"])).body:
            if isinstance(statement, GIVEN) or _is_constant(statement):
                exec(ast.unparse(statement), namespace)
    return namespace


def _is_constant(statement):
    """Whether a statement gives a name to something that is written out."""
    if not isinstance(statement, ast.Assign):
        return False
    named = all(isinstance(target, ast.Name | ast.Tuple) for target in statement.targets)
    try:
        return named and bool([ast.literal_eval(statement.value)])
    except ValueError:
        return False


def judged(number, task, source, namespace):
    namespace = dict(namespace)
    known, cases = worked_out(number, task.name, SEED, "solution")
    try:
        exec(compile(source, task.name, "exec"), namespace)
        function = namespace[task.name]
    except Exception:
        return False
    torch.manual_seed(0)
    answers = [call(function, case, task.calls) for case in task.told(cases)]
    return judge(known, cases, answers).right


@functools.cache
def outcome(number):
    """(number of mutants, the survivors) by task."""
    found, asked, namespace = {}, exercise(number), given(number)
    torch.use_deterministic_algorithms(True, warn_only=True)  # as in the grader's worker
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, source in right_answers(asked).items():
            task = asked.task(name)
            assert judged(number, task, source, namespace), f"the solution of {name} is right"
            made = list(mutants(source))
            alive = [told for told, text in made if judged(number, task, text, namespace)]
            found[name] = len(made), alive
    torch.use_deterministic_algorithms(False)
    return found


@every_exercise
def test_at_least_95_percent_are_caught(number):
    made = sum(count for count, _ in outcome(number).values())
    survivors = [(name, told) for name, (_, alive) in outcome(number).items() for told in alive]
    assert made > 60
    assert 1 - len(survivors) / made >= LEAST, survivors


@every_exercise
def test_every_survivor_has_a_reason(number):
    listed = Path(__file__).parent / "survivors" / f"{number}.toml"
    reasons = tomllib.loads(listed.read_text(encoding="utf-8")) if listed.exists() else {}
    for name, (_, alive) in outcome(number).items():
        for told in alive:
            assert any(part in told for part in reasons), (name, told)


@pytest.mark.parametrize(("number", "name"), TASKS)
def test_every_task_has_mutants_to_catch(number, name):
    made, alive = outcome(number)[name]
    assert made >= 4
    assert len(alive) < made / 3
