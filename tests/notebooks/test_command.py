"""`make notebooks` and nbval, end to end, on a tiny lesson."""

import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from scripts import notebooks
from scripts.normalise import in_order, normalised
from tests.notebooks.reading import ROOT

CELLS = [
    "from minipeft.course import explore, figure, plt, predict, quiz, Question, start\n"
    "import sys, time; start(lesson='03').describe()",
    "for word in ('one', 'two'):\n    print(word, flush=True); time.sleep(0.2)\n"
    "predict('k', 3.0); print('loss', 1.25, 'count', 200)",
    "quiz(Question('?', options={'a': 'x', 'b': 'y'}, answer='a'))",
    "def draw(r=2):\n"
    "    fig, ax = plt.subplots(); ax.plot([0, r])\n"
    "    return fig, f'A line that rises to {r}.', {'line': [0, r]}\n"
    "explore(draw, r=(1, 4))",
    "raise ValueError('as announced')",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A course of one lesson, not executed yet."""
    folder = tmp_path_factory.mktemp("course")
    cells = [new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(CELLS)]
    cells[-1].metadata["tags"] = ["raises-exception"]
    title = "# 03 · A lesson\n\nWhy?\n\n<!-- runtime --><!-- /runtime -->"
    notebook = new_notebook(cells=[new_markdown_cell(title, id="title"), *cells])
    (folder / "notebooks").mkdir()
    nbformat.write(notebook, folder / "notebooks" / "03_lesson.ipynb")
    return folder


def command(folder, *arguments):
    return subprocess.run(
        [sys.executable, "scripts/notebooks.py", "--root", str(folder), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def nbval(path):
    # The settings and the conftest of the repository, though the notebook lies outside it.
    settings = ["-c", "pyproject.toml", "--rootdir", ".", "-p", "conftest"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *settings, "-p", "no:cacheprovider", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def changed(path, change):
    """Rewrite a notebook through `change`, which edits it in place."""
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


@pytest.mark.timeout(300)  # starts kernels, on a machine that may be busy
def test_executes_normalises_and_is_idempotent(folder, capsys):
    path, failing = (
        folder / "notebooks" / "03_lesson.ipynb",
        folder / "notebooks" / "04_fails.ipynb",
    )
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0", id="a")]), failing)
    broken = failing.read_bytes()
    assert notebooks.main(["--root", str(folder), "--check"]) == 1
    assert "03_lesson.ipynb: stale: not every code cell" in capsys.readouterr().out

    done = command(folder)
    assert (done.returncode, done.stderr) == (1, "")
    assert "03_lesson.ipynb: executed" in done.stdout
    assert "04_fails.ipynb: FAILED" in done.stdout and "ZeroDivisionError" in done.stdout
    assert failing.read_bytes() == broken, "a failing notebook stays as it was"
    failing.unlink()

    first = path.read_bytes()
    check_committed_form(nbformat.read(path, as_version=4), first)
    assert notebooks.main(["--root", str(folder), "--check"]) == 0
    again = command(folder, "--all", "03")
    assert again.returncode == 0 and "unchanged" in again.stdout
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def check_committed_form(notebook, data: bytes):
    nbformat.validate(notebook)
    assert in_order(notebook)
    assert [cell.id for cell in notebook.cells][:2] == ["title", "cell-0"]
    assert re.search("about 5 minutes, [0-9]+ s of CPU", notebook.cells[0].source)
    assert not re.search(rb"widget-view|0x[0-9a-f]{6}|/tmp/|iopub", data)
    assert notebook.cells[-1].outputs[0].traceback == ["ValueError: as announced"]
    streams = [o for o in notebook.cells[2].outputs if o.output_type == "stream"]
    assert len(streams) == 1, "what came in pieces is one piece"
    assert normalised(notebook) == notebook


@pytest.mark.timeout(300)  # starts kernels, on a machine that may be busy
def test_nbval_finds_what_changed_and_nothing_else(folder):
    path = folder / "notebooks" / "03_lesson.ipynb"
    whole = path.read_bytes()

    def lie(notebook):
        output = notebook.cells[2].outputs[0]
        output.text = output.text.replace("loss 1.25", "loss 1.30")  # within 5%
        output = notebook.cells[4].outputs[-1]
        for kind in ("text/plain", "text/html"):
            output.data[kind] = output.data[kind].replace("last 2", "last 3")
        output = notebook.cells[1].outputs[0]
        output.text = re.sub("[0-9]+ CPU cores", "999 CPU cores", output.text)

    changed(path, lie)
    outcome = nbval(path)
    path.write_bytes(whole)
    assert outcome.returncode == 1
    assert "1 failed, 4 passed" in outcome.stdout
    assert "last 3" in outcome.stdout


def test_edited_code_is_stale_and_edited_text_is_not(folder):
    path = folder / "notebooks" / "03_lesson.ipynb"
    whole = path.read_bytes()
    changed(path, lambda notebook: notebook.cells[0].update(source="# 03 · Better words"))
    assert notebooks.staleness(nbformat.read(path, as_version=4)) is None
    changed(path, lambda notebook: notebook.cells[1].update(source="x = 1"))
    assert "code" in notebooks.staleness(nbformat.read(path, as_version=4))
    path.write_bytes(whole)


def test_unknown_name_lists_what_there_is(folder):
    with pytest.raises(SystemExit, match=r"'99'.*03_lesson\.ipynb"):
        notebooks.main(["--root", str(folder), "99"])


@pytest.mark.parametrize(
    ("measured", "earlier", "expected"),
    [
        (3.0, None, 10),
        (25.0, None, 30),
        (25.0, 20, 20),
        (25.0, 60, 60),
        (50.0, 20, 60),
        (400.0, None, 420),
    ],
)
def test_running_time_is_coarse_and_steady(measured, earlier, expected):
    assert notebooks.coarse_seconds(measured, earlier) == expected
