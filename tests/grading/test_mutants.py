"""The checkers checked: a right answer with one small change is not right any more."""

import math
import warnings

import pytest
import torch

from minipeft.grading.compare import judge
from minipeft.grading.exercises.solutions import right_answers
from minipeft.grading.sandboxed.call import call

from .handing_in import EXERCISE
from .mutants import mutants

SEED = 20270101
LEAST = 0.95
# survivors are the same function on all that can be asked, for these reasons
BETWEEN = "start_A lies below 1 / sqrt(d_in) or reaches 3: any threshold between is right"
REASONS = {
    "1.5": BETWEEN,
    "record['start_A'].abs": "uniform numbers reach as far to the left as to the right",
    "record['start_A'].any": "no draw is exactly zero, so all is any",
    "record['start_B'].any": "no draw is exactly zero, so all is any",
    "another constant in '5'": "sqrt(6) for sqrt(5): a spread 7% smaller, as chance might have it",
    "'h - target'": "it is squared",
}


def judged(task, source):
    namespace = {"torch": torch, "math": math}
    cases = task.inputs(SEED, EXERCISE.sheet_for("solution"))
    try:
        exec(compile(source, task.name, "exec"), namespace)
        function = namespace[task.name]
    except Exception:
        return False
    torch.manual_seed(0)
    answers = [call(function, case, task.calls) for case in task.told(cases)]
    return judge(task, cases, answers).right


@pytest.fixture(scope="module")
def outcome():
    """(number of mutants, the survivors) by task."""
    found = {}
    torch.use_deterministic_algorithms(True, warn_only=True)  # as in the grader's worker
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, source in right_answers(EXERCISE).items():
            task = EXERCISE.task(name)
            assert judged(task, source), f"the solution of {name} is right"
            made = list(mutants(source))
            found[name] = len(made), [told for told, text in made if judged(task, text)]
    torch.use_deterministic_algorithms(False)
    return found


def test_at_least_95_percent_are_caught(outcome):
    made = sum(number for number, _ in outcome.values())
    survivors = [(name, told) for name, (_, alive) in outcome.items() for told in alive]
    assert made > 150
    assert 1 - len(survivors) / made >= LEAST, survivors


def test_every_survivor_has_a_reason(outcome):
    for name, (_, alive) in outcome.items():
        for told in alive:
            assert any(part in told for part in REASONS), (name, told)


@pytest.mark.parametrize("name", sorted(right_answers(EXERCISE)))
def test_every_task_has_mutants_to_catch(outcome, name):
    number, alive = outcome[name]
    assert number >= 4
    assert len(alive) < number / 3
