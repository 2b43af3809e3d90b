"""The end of a test run says what was skipped for want of what, and how to get it."""

import os
import re
import subprocess
import sys

import pytest

from tests.missing import NEEDS, way

from .project import ROOT

TESTS = """
import pytest

@pytest.mark.browser
@pytest.mark.parametrize("number", [1, 2])
def test_in_a_browser(number):
    pytest.skip("no chromium")

@pytest.mark.sandbox
@pytest.mark.skipif(True, reason="no bubblewrap")
def test_in_the_sandbox():
    pass

@pytest.mark.gpu
def test_on_a_gpu():
    {on_a_gpu}

def test_of_something_else():
    pytest.skip("no fork")

def test_anywhere():
    pass
"""


# The plugin alone, so that each run takes less than a second.
ALONE = ["-c", "none.ini", "-p", "tests.missing", "-p", "xdist.plugin"]
AS_HERE = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-p", "conftest"]


def run(folder, text: str, options: list[str]) -> str:
    """The output of a pytest of its own."""
    (folder / "test_needs.py").write_text(text)
    (folder / "none.ini").write_text("[pytest]\nmarkers =\n  browser\n  sandbox\n  gpu\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if options[:2] == ALONE[:2]:
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "options", [ALONE, [*ALONE, "-n", "2"], AS_HERE], ids=["alone", "two workers", "as here"]
)
def test_each_need_has_its_count_and_its_line_and_pytest_closes(tmp_path, options):
    output = run(tmp_path, TESTS.format(on_a_gpu="pytest.skip('no GPU')"), options)
    section = output[output.index("skipped for want of") :]
    assert f"chromium (2 tests): {way(*NEEDS['browser'][1:])}\n" in section
    assert f"bubblewrap (1 test): {way(*NEEDS['sandbox'][1:])}\n" in section
    assert f"an NVIDIA GPU (1 test): {way(*NEEDS['gpu'][1:])}\n" in section
    assert "fork" not in re.sub("(?s)short test summary info.*", "", section)
    assert re.search("=+ 1 passed, 5 skipped in .* =+$", output.rstrip())


def test_what_is_there_is_not_missed(tmp_path):
    output = run(tmp_path, TESTS.format(on_a_gpu="pass"), ALONE)
    assert "chromium (2 tests)" in output and "NVIDIA" not in output
    nothing = run(tmp_path, "def test_anywhere(): pass", ALONE)
    assert "for want of" not in nothing and "1 passed" in nothing.rstrip().splitlines()[-1]


@pytest.mark.parametrize("need", NEEDS)
def test_every_system_is_told_what_it_can_do(need):
    _, *ways = NEEDS[need]
    told = {system: way(*ways, system) for system in ("linux", "darwin", "win32")}
    assert all(told.values()) and not any("{" in text for text in told.values())
    assert "apt-get" not in told["darwin"] + told["win32"] and "brew" not in told["linux"]


def test_ubuntu_has_a_name_of_its_own_for_the_browser(monkeypatch):
    line = NEEDS["browser"][1:]
    for system, name in [("debian", "chromium fonts"), ("ubuntu", "chromium-browser fonts")]:
        monkeypatch.setattr("tests.missing._release", lambda system=system: {"ID": system})
        assert f"apt-get install {name}" in way(*line, "linux")
