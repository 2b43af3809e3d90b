"""exercises/ is what nbgrader itself makes of solutions/, and it is up to date."""

import functools
import json
import re
import subprocess
import sys

import pytest

from minipeft.grading.exercises import NUMBERS, exercise
from minipeft.grading.limits import Limits
from scripts import exercises

from .handing_in import ROOT, SOURCE

EXERCISES = [exercise(number) for number in NUMBERS]
TASKS = [(asked, task) for asked in EXERCISES for task in asked.tasks]
every_exercise = pytest.mark.parametrize("asked", EXERCISES, ids=NUMBERS)


def source(asked):
    return ROOT / "solutions" / f"{asked.notebook}.ipynb"


@functools.cache
def made(notebook):
    path = ROOT / "solutions" / f"{notebook}.ipynb"
    return exercises.exercise(path.read_text(encoding="utf-8"))


def test_the_committed_exercises_are_not_stale(capsys):
    assert exercises.main(["--check"]) == 0, "run `make exercises`"


def test_stale_missing_and_orphaned_exercises_are_noticed_and_repaired(tmp_path, capsys):
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions" / SOURCE.name).write_bytes(SOURCE.read_bytes())
    (tmp_path / "exercises").mkdir()
    (tmp_path / "exercises" / "orphan.ipynb").write_text("{}")
    root = ["--root", str(tmp_path)]
    assert exercises.main(["--check", *root]) == 1
    assert exercises.main(root) == 0
    assert exercises.main(["--check", *root]) == 0
    assert [path.name for path in (tmp_path / "exercises").iterdir()] == [SOURCE.name]
    written = tmp_path / "exercises" / SOURCE.name
    written.write_text(written.read_text().replace("lora_start", "lora_end"))
    assert exercises.main(["--check", *root]) == 1


@every_exercise
def test_equal_to_nbgraders_own_byte_for_byte(asked, tmp_path):
    copied = tmp_path / "source" / asked.notebook / source(asked).name
    copied.parent.mkdir(parents=True)
    copied.write_bytes(source(asked).read_bytes())
    (tmp_path / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.ClearSolutions.code_stub = {{'python': {exercises.STUB!r}}}\n"
    )
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "--no-db"]
    command.append(asked.notebook)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    release = tmp_path / "release" / asked.notebook / source(asked).name
    assert release.read_bytes() == made(asked.notebook).encode()


@every_exercise
def test_nothing_of_the_solution_is_left(asked):
    text = made(asked.notebook)
    assert "### BEGIN" not in text
    assert "### END" not in text
    assert not re.search(r"check\.\w+\(\w+, seed=", text)
    for cell in json.loads(text)["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize(("asked", "task"), TASKS, ids=[f"{a.number}-{t.name}" for a, t in TASKS])
def test_every_stub_fails_with_a_helpful_message(asked, task):
    stub = next(
        "".join(cell["source"])
        for cell in json.loads(made(asked.notebook))["cells"]
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == task.name
    )
    namespace = {}
    exec(stub, namespace)
    arguments = task.told(task.inputs(0, asked.sheet_for("ada")))[0]
    with pytest.raises(NotImplementedError, match="hints are above"):
        namespace[task.name](*arguments)


@every_exercise
def test_the_limits_are_printed_in_the_exercise(asked):
    text = "".join(json.loads(made(asked.notebook))["cells"][0]["source"])
    assert Limits().told().replace("the notebook's", "its") in text
