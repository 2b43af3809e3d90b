"""What holds for every exercise: right answers, wrong answers by name, sheets, and its notebook."""

import json
import re

import numpy as np
import pytest

from minipeft.grading.compare import judge
from minipeft.grading.exercises import NUMBERS, exercise
from minipeft.grading.sandboxed import protocol
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT, grade_id
from .worked_out import worked_out

SEEDS = range(5)
EXERCISES = [exercise(number) for number in NUMBERS]
TASKS = [
    pytest.param(asked, task, id=f"{asked.number}-{task.name}")
    for asked in EXERCISES
    for task in asked.tasks
]
WRONG = [
    pytest.param(asked, task, wrong, id=f"{asked.number}-{task.name}-{number}")
    for asked in EXERCISES
    for task in asked.tasks
    for number, wrong in enumerate(task.misconceptions)
]
every_exercise = pytest.mark.parametrize("asked", EXERCISES, ids=NUMBERS)


def returned(task, function, cases):
    return [call(function, case, task.calls, tensors=False) for case in cases]


@pytest.mark.parametrize(("asked", "task"), TASKS)
def test_the_reference_is_right_and_says_why(asked, task):
    for seed in SEEDS:
        cases = task.inputs(seed, asked.sheet_for(f"student {seed}"))
        verdict = judge(task, cases, returned(task, task.answer, cases))
        assert verdict.right
        assert verdict.message == task.why


@pytest.mark.parametrize(("asked", "task", "wrong"), WRONG)
def test_a_wrong_answer_is_caught_by_its_own_name(asked, task, wrong, monkeypatch):
    own = np.random.default_rng
    for seed in SEEDS:
        known, cases = worked_out(asked.number, task.name, seed, f"student {seed}")
        with monkeypatch.context() as patch:  # a student's draws are not those of the reference
            patch.setattr(np.random, "default_rng", lambda seed: own(seed + 99))
            answers = returned(task, wrong.answer, cases)
        verdict = judge(known, cases, answers)
        assert not verdict.right
        assert verdict.message == wrong.message
        answers = known.misconceptions[task.misconceptions.index(wrong)].answer.values
        assert not all(isinstance(answer, protocol.Raised) for answer in answers), (
            "it must run somewhere"
        )


@pytest.mark.parametrize(("asked", "task"), TASKS)
def test_every_task_names_three_mistakes_and_more(asked, task):
    messages = [wrong.message for wrong in task.misconceptions]
    assert len(messages) >= 3
    assert task.why


@every_exercise
def test_no_two_mistakes_share_a_message(asked):
    messages = [wrong.message for task in asked.tasks for wrong in task.misconceptions]
    assert len(set(messages)) == len(messages)


@every_exercise
def test_words_are_graded_by_a_rubric_and_three_levels(asked):
    for part in asked.by_hand:
        assert sum(points for points, _ in part.rubric) == part.points
        assert len(part.levels) >= 3
        assert part.levels[0][0] == part.points
        assert [points for points, _ in part.levels] == sorted(
            (points for points, _ in part.levels), reverse=True
        )


@pytest.mark.parametrize(("asked", "task"), TASKS)
def test_inputs_follow_from_the_seed_alone_and_differ_between_seeds(asked, task):
    def fingerprint(seed):
        return protocol.encode(task.inputs(seed, {}))

    if not task.from_sheet:
        assert fingerprint(1) == fingerprint(1)
        assert len({fingerprint(seed) for seed in range(20)}) == 20


@every_exercise
def test_no_two_sheets_are_equal(asked):
    if asked.has_sheets:
        sheets = [tuple(asked.sheet_for(f"student{n}").values()) for n in range(300)]
        assert len(set(sheets)) == len(sheets)
        assert asked.sheet_for(" Ada ") == asked.sheet_for("ada")


def solution(asked):
    path = ROOT / "solutions" / f"{asked.notebook}.ipynb"
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def prose(asked):
    cells = solution(asked)
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


@every_exercise
def test_the_notebook_and_the_tasks_agree(asked):
    marked = {grade_id(c): c["metadata"]["nbgrader"] for c in solution(asked) if grade_id(c)}
    points = {name: data["points"] for name, data in marked.items() if data["grade"]}
    assert points == {f"{task.name}_check": task.points for task in asked.tasks} | {
        part.name: part.points for part in asked.by_hand
    }
    assert all(marked[task.name]["solution"] for task in asked.tasks)
    assert f"{asked.points:g} points" in "\n".join("".join(c["source"]) for c in solution(asked))


@pytest.mark.parametrize(("asked", "task"), TASKS)
def test_every_task_shows_difficulty_minutes_points_and_two_hints(asked, task):
    number, _, title = task.title.partition(". ")
    section = prose(asked).partition(f" {number}. {title}" if number.isalnum() else title)[2]
    section = section.partition("\n## ")[0].partition("\n### ")[0]
    assert "of 5" in section and "minutes" in section
    assert f"{task.points:g} point" in section
    assert section.count("<details>") == 2


@every_exercise
def test_the_minutes_of_the_tasks_add_up_to_the_titles(asked):
    title = re.search(r"About (\d+) minutes, (\d+) points", prose(asked))
    tasks = re.findall(r"(\d+) minutes, (\d+) points?[.,]", prose(asked).replace(title[0], ""))
    assert int(title[1]) == sum(int(minutes) for minutes, _ in tasks)
    assert int(title[2]) == sum(int(points) for _, points in tasks)
