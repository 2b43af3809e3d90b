"""Committed notebooks were run from top to bottom and left nothing unsightly behind."""

import re

import pytest

from scripts.normalise import WIDGET_VIEW, in_order, normalised
from scripts.notebooks import staleness
from tests.notebooks.reading import (
    LESSONS,
    ROOT,
    SOLUTIONS,
    code_cells,
    markdown,
    named,
    read,
    texts,
)

every_notebook = pytest.mark.parametrize("path", LESSONS + SOLUTIONS, ids=named)

ABSOLUTE_PATH = re.compile(r"(?<![\w:/.<~])/[\w.-]+/[\w.-]+/[\w.-]+|\b[A-Z]:\\\w|file://")
ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")


def test_the_lessons_are_those_that_the_readme_calls_ready_with_their_minutes():
    """A student plans an evening by these rows; so they say what the lessons' own titles say."""
    row = r"\| \d\d \| .*\]\((notebooks/[\w.]+)\).* \| (\d+) \| (?:\[(\d+)\].*)? \| ready \|"
    ready = re.findall(row, (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [path for path, _, _ in ready] == [p.relative_to(ROOT).as_posix() for p in LESSONS]
    for path, minutes, of_exercise in ready:
        assert f"about {minutes} minutes" in read(ROOT / path).cells[0].source
        exercise = ROOT / path.replace("notebooks", "exercises")
        assert exercise.exists() == bool(of_exercise)
        assert not of_exercise or f"About {of_exercise} minutes" in read(exercise).cells[0].source


def test_the_map_in_the_first_lesson_leads_to_every_other():
    linked = re.findall(r"\]\((\d\d_\w+\.ipynb)\) ?\|", markdown(read(LESSONS[0])))
    assert sorted(linked) == [path.name for path in LESSONS[1:]]


@every_notebook
def test_executed_in_order(path):
    assert in_order(read(path)), "run `make notebooks`"


@every_notebook
def test_fresh(path):
    assert staleness(read(path)) is None, "run `make notebooks`"


@every_notebook
def test_normalised(path):
    notebook = read(path)
    assert normalised(notebook) == notebook, "run `make notebooks`"
    assert "widgets" not in notebook.metadata
    for cell in code_cells(notebook):
        assert all(WIDGET_VIEW not in output.get("data", {}) for output in cell.outputs)


@every_notebook
def test_no_errors_and_no_stderr(path):
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            assert output.get("name") != "stderr", (cell.id, output.text)
            if output.output_type == "error":
                assert "raises-exception" in cell.metadata.get("tags", []), (cell.id, output.ename)


@every_notebook
def test_no_warnings_paths_or_addresses(path):
    for cell in read(path).cells:
        for text in texts(cell):
            assert "Warning:" not in text, cell.id
            assert not ADDRESS.search(text), (cell.id, ADDRESS.search(text))
        for text in [cell.source, *texts(cell)]:
            assert not ABSOLUTE_PATH.search(text), (cell.id, ABSOLUTE_PATH.search(text))


@every_notebook
def test_hardly_any_output_is_ignored(path):
    cells = code_cells(read(path))
    ignored = [c.id for c in cells if _is_ignored(c)]
    assert len(ignored) < len(cells) / 10, ignored


def _is_ignored(cell) -> bool:
    tags = {tag.lower().replace("_", "-") for tag in cell.metadata.get("tags", [])}
    unseen = {"nbval-ignore-output", "nbval-skip"}
    return bool(tags & unseen) or bool(re.search(r"#\s*NBVAL_(IGNORE_OUTPUT|SKIP)", cell.source))


def test_the_patterns_find_what_they_should():
    assert ABSOLUTE_PATH.search("in '/home/ann/lessons/x.py'")
    assert ABSOLUTE_PATH.search(r"C:\Users")
    for fine in ("https://arxiv.org/abs/2106.09685", "1/2/3/4", "</b></p></li>", "and/or", "a /b"):
        assert not ABSOLUTE_PATH.search(fine), fine
