"""The habits of CONTRIBUTING.md, held by tools: style, layers, clean files."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from .project import ROOT

SCRIPTS = Path(sysconfig.get_path("scripts"))
ABOUT_PATHS = (  # tests that need such a path as an example
    "tests/setup/test_habits.py",
    "tests/notebooks/test_executed.py",
    "tests/notebooks/test_rules_can_fail.py",
    "tests/grading/hostile.py",
)


def tracked(*patterns: str) -> list[Path]:
    """The files that git holds, or (in a copy without git) all of them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("this copy of the repository has no git history to list its files")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff_is_content(command):
    """With what the repository holds; a student's own scratch files are no business of ours."""
    files = tracked("*.py", "*.ipynb")
    _run([sys.executable, "-m", "ruff", *command.split(), "--force-exclude", *files])


def test_imports_point_one_way():
    _run([SCRIPTS / "lint-imports", "--no-cache"])


def _run(command) -> None:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_file_names_the_machine_that_made_it():
    """Absolute paths come in by outputs of notebooks and by copied commands."""
    home = re.compile(r"(?<![\w.~$}])/(?:root|home|Users|private|work|tmp)/[A-Za-z]")
    found = []
    for path in tracked(
        "*.py", "*.ipynb", "*.md", "*.toml", "*.yml", "*.json", "Makefile", ".ci/run"
    ):
        name = path.relative_to(ROOT).as_posix()
        if name in ABOUT_PATHS:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if home.search(line):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_notebooks_are_valid_and_small():
    """GitHub refuses to show notebooks with half a widget state, or of many megabytes."""
    for path in tracked("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert "widgets" not in notebook["metadata"], path.name
        assert path.stat().st_size < 3_000_000, path.name


def test_relative_links_lead_somewhere():
    for path in tracked("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path.relative_to(ROOT)} links to {link}"


def test_readme_tells_ready_lessons_from_planned_ones():
    rows = re.findall(
        r"^\| (\d\d) \| (.*) \| (ready|planned) \|$", _text("README.md"), re.MULTILINE
    )
    assert [number for number, _, _ in rows] == [f"{number:02}" for number in range(19)]
    ready = {number for number, _, state in rows if state == "ready"}
    assert ready == {path.name[:2] for path in tracked("notebooks/*.ipynb")}


def test_readme_says_how_much_there_is_to_read():
    """The files of the numbered list, in the order of the list; a tenth more or less is no lie."""
    order = _text("README.md").partition("### Read the code in this order")[2]
    said = int(re.search(r"about ([\d,]+) lines", order)[1].replace(",", ""))
    numbered = order[: order.index("Not needed for that")].replace("[target_checks.py]", "")
    files = dict.fromkeys(re.findall(r"\[[\w/]+\.py\]\((minipeft/[\w/]+\.py)\)", numbered))
    lines = sum(len(_text(name).splitlines()) for name in files)
    assert len(files) == 15 and 0.9 * said <= lines <= 1.1 * said


def test_contributing_fits_one_screen():
    """Of prose; the example of a new method comes on top."""
    prose = re.sub(r" *```python.*?```", "", _text("CONTRIBUTING.md"), flags=re.DOTALL)
    assert len(prose.splitlines()) <= 40


def test_ci_script_lints_first_and_ends_with_every_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    goals = [line.split() for line in lines if line.startswith("make ")]
    assert goals[0] == ["make", "lint"]
    assert lines[-1].split() == goals[-1] and goals[-1][-1] == "test"
    assert "test-portable" in goals[-1]


def test_the_workflow_has_every_kind_of_machine_and_lints_first():
    jobs = yaml.safe_load(_text(".github/workflows/test.yml"))["jobs"]
    systems = " ".join(jobs["tested-versions"]["strategy"]["matrix"]["os"])
    assert all(kind in systems for kind in ("ubuntu-latest", "-arm", "macos", "windows"))
    runs = [step.get("run", "") for step in jobs["tested-versions"]["steps"]]
    assert runs.index("make lint") < runs.index("make test")
    kinds = jobs["older-processors"]["strategy"]["matrix"]["kind"]
    portable = re.search(r"^test-portable: (.*?) ##", _text("Makefile"), re.MULTILINE)[1]
    assert [f"test-{kind}" for kind in kinds] == portable.split()


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
