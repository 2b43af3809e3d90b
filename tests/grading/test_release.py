"""`make release`: the students' zip holds no answer, works alone, and is the same each time."""

import ast
import functools
import importlib
import json
import os
import subprocess
import sys
import zipfile

import pytest

from minipeft.grading import compare, recorded
from minipeft.grading.checks import NotYet, _noted
from minipeft.grading.exercises import NUMBERS, exercise
from minipeft.grading.exercises.solutions import right_answers
from minipeft.grading.sandboxed.call import call
from scripts import release

from .handing_in import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git checkout")
every_exercise = pytest.mark.parametrize("number", NUMBERS)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The unpacked zip."""
    folder = tmp_path_factory.mktemp("release")
    assert release.main(["--out", str(folder / "a.zip")]) == 0
    assert release.main(["--out", str(folder / "b.zip")]) == 0
    assert (folder / "a.zip").read_bytes() == (folder / "b.zip").read_bytes()
    with zipfile.ZipFile(folder / "a.zip") as archive:
        archive.extractall(folder)
    return folder / release.TOP


def in_the_zip(course, *command):
    """Run the course's Python in the unpacked zip, with nothing of this clone in reach."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=course,
        env={**os.environ, "PYTHONPATH": str(course)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_in_it_and_what_is_not(course):
    files = {path.relative_to(course).as_posix() for path in course.rglob("*") if path.is_file()}
    for wanted in ("README.md", "Makefile", "notebooks/00_start_here.ipynb", "tests/conftest.py"):
        assert wanted in files
    assert not [name for name in files if name.startswith(("solutions/", "tests/grading/"))]
    assert "For instructors" not in (course / "README.md").read_text()


@every_exercise
def test_an_exercise_is_its_notebook_what_is_asked_and_numbers(course, number):
    folder = course / "minipeft/grading/exercises" / f"lesson_{number}"
    inside = {path.name for path in folder.iterdir() if path.name != "__pycache__"}
    assert inside == {"__init__.py", "asked.py", "key.safetensors"}
    assert (course / "exercises" / f"{exercise(number).notebook}.ipynb").is_file()


@functools.cache
def functions(path):
    """Every function that is defined in a file, in its source without comments."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {ast.unparse(node) for node in nodes if isinstance(node, ast.FunctionDef)}


@every_exercise
def test_no_reference_and_no_wrong_answer_is_in_it(course, number):
    folder = ROOT / "minipeft/grading/exercises" / f"lesson_{number}"
    answers = set().union(*map(functions, folder.glob("*.py"))) - functions(folder / "asked.py")
    assert len(answers) > len(exercise(number).tasks)
    for path in (course / "minipeft").rglob("*.py"):
        assert not functions(path) & answers, path


@every_exercise
def test_no_solution_is_in_an_exercise(course, number):
    asked = exercise(number)
    solved = right_answers(asked)
    assert solved.keys() == {task.name for task in asked.tasks}
    notebook = json.loads((course / "exercises" / f"{asked.notebook}.ipynb").read_bytes())
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    for source in solved.values():
        body = source.partition("### BEGIN SOLUTION\n")[2].partition("    ### END SOLUTION")[0]
        assert body.strip()
        assert body not in text


@every_exercise
def test_its_checks_name_the_same_mistakes(course, number):
    lesson = f"minipeft/grading/exercises/lesson_{number}"
    asked = importlib.import_module(f"minipeft.grading.exercises.lesson_{number}.asked")
    theirs = recorded.read(course / lesson / "key.safetensors", asked)
    sheet = theirs.sheet_for(recorded.NOBODY)
    for task in exercise(number).tasks:
        if task.from_sheet:
            continue
        copy, cases = theirs.task(task.name), task.inputs(recorded.CHECKS_OWN_SEED, sheet)
        for answer in (task.answer, *(wrong.answer for wrong in task.misconceptions)):
            answers = [call(answer, case, task.calls, tensors=False) for case in cases]
            ours = compare.judge(task, cases, answers)
            told = compare.judge(copy, copy.inputs(0, sheet), answers)
            assert (told.right, told.message, told.case) == (ours.right, ours.message, ours.case)


@every_exercise
def test_numbers_of_a_sheet_are_seen_to_have_the_asked_form(course, number, capsys):
    asked = importlib.import_module(f"minipeft.grading.exercises.lesson_{number}.asked")
    key = course / f"minipeft/grading/exercises/lesson_{number}" / "key.safetensors"
    for task in recorded.read(key, asked).tasks:
        if task.from_sheet:
            right = exercise(number).task(task.name).answer(exercise(number).sheet_for("ada"))
            _noted(task, lambda right=right: right)
            assert "Written down" in capsys.readouterr().out
            with pytest.raises(NotYet, match="asked for is a dictionary"):
                _noted(task, lambda: {"something else": 1})


@pytest.mark.timeout(300)
def test_it_works_alone(course):
    done = in_the_zip(course, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/exercises")
    assert done.returncode == 0, done.stdout[-3000:]
    grades = (
        "import sys, minipeft.__main__ as m; print(m.__file__); sys.exit(m.main(['grade', 'x']))"
    )
    done = in_the_zip(course, "-c", grades)
    assert str(course) in done.stdout
    assert done.returncode == 2 and "no" in done.stderr


@pytest.mark.timeout(300)
def test_all_of_its_tests_can_be_found(course):
    """That they pass was seen by hand: it takes as long as this clone's own."""
    done = in_the_zip(course, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout[-3000:]
