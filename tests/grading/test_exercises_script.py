"""exercises/ is what nbgrader itself makes of solutions/, and it is up to date."""

import json
import subprocess
import sys

import pytest

from minipeft.grading.limits import Limits
from scripts import exercises

from .handing_in import EXERCISE, SOURCE

MADE = exercises.exercise(SOURCE.read_text(encoding="utf-8"))


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
    made = tmp_path / "exercises" / SOURCE.name
    made.write_text(made.read_text().replace("lora_start", "lora_end"))
    assert exercises.main(["--check", *root]) == 1


def test_equal_to_nbgraders_own_byte_for_byte(tmp_path):
    source = tmp_path / "source" / EXERCISE.notebook / SOURCE.name
    source.parent.mkdir(parents=True)
    source.write_bytes(SOURCE.read_bytes())
    (tmp_path / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.ClearSolutions.code_stub = {{'python': {exercises.STUB!r}}}\n"
    )
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "--no-db"]
    command.append(EXERCISE.notebook)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    release = tmp_path / "release" / EXERCISE.notebook / SOURCE.name
    assert release.read_bytes() == MADE.encode()


def test_nothing_of_the_solution_is_left():
    assert "BEGIN" not in MADE
    assert "END SOLUTION" not in MADE
    assert "requires_grad_()\\n" not in MADE.replace("`", "")
    assert "seed=" not in MADE
    for cell in json.loads(MADE)["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("task", EXERCISE.tasks, ids=lambda task: task.name)
def test_every_stub_fails_with_a_helpful_message(task):
    source = next(
        "".join(cell["source"])
        for cell in json.loads(MADE)["cells"]
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == task.name
    )
    namespace = {}
    exec(source, namespace)
    arguments = task.told(task.inputs(0, EXERCISE.sheet_for("ada")))[0]
    with pytest.raises(NotImplementedError, match="hints are above"):
        namespace[task.name](*arguments)


def test_the_limits_are_printed_in_the_exercise():
    text = "".join(json.loads(MADE)["cells"][0]["source"])
    assert Limits().told().replace("the notebook's", "its") in text
