"""`make release`: the students' zip holds no answer, works alone, and is the same each time."""

import ast
import json
import os
import subprocess
import sys
import zipfile

import pytest

from scripts import release

from .handing_in import EXERCISE, ROOT, SOLUTION, grade_id

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git checkout")


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


def test_what_is_in_it_and_what_is_not(course):
    files = {path.relative_to(course).as_posix() for path in course.rglob("*") if path.is_file()}
    for wanted in ("README.md", "Makefile", "notebooks/00_start_here.ipynb", "tests/conftest.py"):
        assert wanted in files
    assert f"exercises/{EXERCISE.notebook}.ipynb" in files
    assert not [name for name in files if name.startswith(("solutions/", "tests/grading/"))]
    lesson = "minipeft/grading/exercises/lesson_03/"
    inside = {name.removeprefix(lesson) for name in files if name.startswith(lesson)}
    assert inside == {"__init__.py", "asked.py", "key.safetensors"}
    assert "For instructors" not in (course / "README.md").read_text()


def functions(path):
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }


def test_no_reference_and_no_wrong_answer_is_in_it(course):
    folder = ROOT / "minipeft/grading/exercises/lesson_03"
    answers = set()
    for path in folder.glob("*.py"):
        if path.name != "asked.py":
            answers |= functions(path)
    assert {"forward", "merge_in_place", "count", "specimen", "train_in_turns"} <= answers
    for path in (course / "minipeft/grading").rglob("*.py"):
        assert not functions(path) & (answers - {"merge"}), path
    solved = "".join(
        line
        for cell in SOLUTION["cells"]
        if grade_id(cell) == "train_lora"
        for line in cell["source"]
    )
    solution = solved.partition("### BEGIN SOLUTION")[2].strip().splitlines()[0]
    for path in (course / "exercises").glob("*.ipynb"):
        assert solution not in path.read_text(encoding="utf-8")


def test_it_works_alone(course):
    environment = {**os.environ, "PYTHONPATH": str(course)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/exercises"]
    done = subprocess.run(
        command, cwd=course, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    asked = "import minipeft, sys; print(minipeft.__file__)"
    told = subprocess.run(
        [sys.executable, "-c", asked], cwd=course, env=environment, capture_output=True, text=True
    )
    assert str(course) in told.stdout
    done = subprocess.run(
        [sys.executable, "-m", "minipeft", "grade", "x"],
        cwd=course,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "no" in done.stderr


def test_its_checks_name_the_same_mistakes(course):
    script = """
import json, sys
from minipeft.grading import NotYet, checks
from minipeft.grading.exercises import exercise
import torch
def told(name, function):
    try:
        getattr(checks("03"), name)(function)
    except NotYet as error:
        return str(error)
    return "right"
print(json.dumps([
    told("lora_forward", lambda x, w, A, B, a: x @ w.T + a / len(A) * x @ A.T @ B.T),
    told("lora_forward", lambda x, w, A, B, a: x @ w.T + x @ A.T @ B.T),
    told("merge", lambda w, A, B, a: w + B @ A),
    told("lora_start", lambda i, o, r: (torch.randn(r, i), torch.zeros(o, r))),
    told("diagnose", lambda record: "healthy"),
    told("my_counts", lambda: {"q and v": 1}),
]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=course,
        env={**os.environ, "PYTHONPATH": str(course)},
        capture_output=True,
        text=True,
        check=False,
    )
    right, *mistakes = json.loads(done.stdout.splitlines()[-1])
    assert right == "right"
    known = {wrong.message for task in EXERCISE.tasks for wrong in task.misconceptions}
    for message in mistakes[:-1]:
        assert message in known
    assert "asked for is a dictionary" in mistakes[-1]
