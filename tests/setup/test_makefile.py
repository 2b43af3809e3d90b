"""`make setup` with a stand-in for Python that only writes down what it is asked to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .project import ROOT

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or sys.platform == "win32", reason="make is not installed"
)

# Code (`-c`) runs in the real Python after PREAMBLE; `-m venv` puts a copy of this file in place.
STAND_IN = f"""#!/bin/sh
if [ "$1" = -c ]; then exec "{sys.executable}" -S -c "import sys; $PREAMBLE
$2"; fi
case "$*" in
    "-m pytest"*)
        echo "$@ | $ATEN_CPU_CAPABILITY $ONEDNN_MAX_CPU_ISA $MKL_ENABLE_INSTRUCTIONS" >> "$CALLS" ;;
    *) echo "$@" >> "$CALLS" ;;
esac
case "$*" in
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp "$0" .venv/bin/lint-imports ;;
    "-m pip"*) exit "$PIP_ANSWER" ;;
esac
"""


class Checkout:
    """A folder with the files that `make setup` reads, and the calls that it made."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.python = folder.parent / "stand-in-python"
        self.python.write_text(STAND_IN)
        self.python.chmod(0o755)
        self.calls_file = folder.parent / "calls"
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)

    def make(self, *arguments, preamble="", pip_answer=0):
        """Run make; return the finished process and the calls to the stand-in."""
        self.calls_file.write_text("")
        outer = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment = outer | {
            "PREAMBLE": preamble or "pass",
            "CALLS": str(self.calls_file),
            "PIP_ANSWER": str(pip_answer),
        }
        command = ["make", *arguments, f"PYTHON={self.python}"]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True
        )
        return done, self.calls_file.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    return Checkout(folder)


def test_bare_make_prints_help(checkout):
    done, calls = checkout.make()
    assert done.returncode == 0 and not calls
    for target in (
        "lab",
        "test",
        "quick",
        "test-portable",
        "setup",
        "lint",
        "notebooks",
        "exercises",
        "bench",
        "clean",
    ):
        assert f"make {target} " in done.stdout
    assert "make bench-gpu " in done.stdout


KINDS = {
    "sse": "default SSE41 SSE4_2",
    "avx2": "avx2 AVX2 AVX2",
}


@pytest.mark.parametrize("solutions", [{"solutions"}, set()], ids=["clone", "students' copy"])
def test_portable_tests_run_once_for_each_kind_of_processor(checkout, solutions):
    """The stand-in writes down three variables with each call of pytest."""
    for folder in solutions:
        (checkout.folder / folder).mkdir()
    done, calls = checkout.make("test-portable")
    assert done.returncode == 0, done.stderr
    runs = [call for call in calls if call.startswith("-m pytest")]
    assert [run.rpartition(" | ")[2] for run in runs] == list(KINDS.values())
    for run in runs:
        assert {"tests/core", "notebooks"} | solutions <= set(run.split())
        assert solutions or "solutions" not in run.split()
        assert not {"tests", "tests/setup", "tests/browser", "tests/grading"} & set(run.split())


def test_quick_tests_lint_first_and_leave_out_what_is_slow(checkout):
    done, calls = checkout.make("quick")
    assert done.returncode == 0, done.stderr
    assert any("ruff check" in call for call in calls)
    assert calls[-1].startswith("-m pytest") and "not slow" in calls[-1]
    assert "notebooks" not in calls[-1].split()


@pytest.mark.parametrize("target, options", [("bench", ""), ("bench-gpu", " --device cuda")])
def test_benchmarks_are_one_command(checkout, target, options):
    done, calls = checkout.make(target)
    assert done.returncode == 0, done.stderr
    assert calls[-1] == f"-m benchmarks{options}"


def test_first_setup_then_nothing_to_do(checkout):
    done, calls = checkout.make("setup")
    assert done.returncode == 0, done.stderr
    assert calls[0] == "-m venv --clear .venv"
    assert calls[1].endswith("-c constraints.txt -e .[lab,test]")
    done, calls = checkout.make("setup")
    assert done.returncode == 0 and not calls


def test_interrupted_setup_starts_again(checkout):
    done, _ = checkout.make("setup", pip_answer=1)
    assert done.returncode != 0
    done, calls = checkout.make("setup")
    assert done.returncode == 0
    assert calls[0] == "-m venv --clear .venv" and len(calls) == 2


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_in_place(checkout, name):
    checkout.make("setup")
    ready = checkout.folder / ".venv" / ".ready"
    os.utime(ready, (1, 1))
    os.utime(checkout.folder / name)
    done, calls = checkout.make("setup")
    assert done.returncode == 0
    assert calls[0] == "-m venv .venv" and len(calls) == 2


def test_interrupted_change_starts_again(checkout):
    checkout.make("setup")
    os.utime(checkout.folder / ".venv" / ".ready", (1, 1))
    assert checkout.make("setup", pip_answer=1)[0].returncode != 0
    assert checkout.make("setup")[1][0] == "-m venv --clear .venv"


def test_moved_folder_is_set_up_anew(checkout):
    checkout.make("setup")
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    assert checkout.make("setup")[1][0] == "-m venv --clear .venv"


def test_environment_whose_python_is_gone_is_set_up_anew(checkout):
    checkout.make("setup")
    (checkout.folder / ".venv" / "bin" / "python").unlink()
    assert checkout.make("setup")[1][0] == "-m venv --clear .venv"


def test_newest_versions_in_place_of_the_pinned(checkout):
    _, calls = checkout.make("setup", "CONSTRAINTS=")
    assert calls[1].endswith("pip install --disable-pip-version-check -e .[lab,test]")


def test_old_python_is_refused(checkout):
    done, calls = checkout.make("test", preamble="sys.version_info = (3, 9, 18)")
    assert done.returncode != 0 and not calls
    assert "needs Python 3.11 or newer" in done.stderr and "is Python 3.9" in done.stderr


def test_python_without_venv_is_refused(checkout):
    done, calls = checkout.make("lab", preamble="sys.modules['ensurepip'] = None")
    assert done.returncode != 0 and not calls
    assert "no venv module" in done.stderr and "python3-venv" in done.stderr


def test_missing_python_is_refused(checkout):
    checkout.python.unlink()
    done, _ = checkout.make("setup")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr and str(checkout.python) in done.stderr
