"""Rules for the code of lessons: what makes them safe to change, to restart and to guess in."""

import ast
import re

import pytest

from tests.notebooks.reading import LESSONS, code_cells, named, read, texts

every_lesson = pytest.mark.parametrize("path", LESSONS, ids=named)

DRAWING = re.compile(r"\b(ax|axes|fig|plt)\b[.\[]|\bsubplots\(")
REAL_LIBRARIES = {"adapters", "bitsandbytes", "peft", "transformers"}
MOST_DRAWING = 0.06  # of all lines; the rest belongs into minipeft.course.lab


def trees(path) -> list[tuple[str, ast.Module]]:
    """The syntax tree of each code cell, with the cell's id."""
    return [(cell.id, ast.parse(cell.source)) for cell in code_cells(read(path))]


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """The calls of a function or method of this name."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [c for c in found if getattr(c.func, "id", getattr(c.func, "attr", None)) == name]


@every_lesson
def test_imports_stand_in_the_first_cell(path):
    """So that a lesson can be taken up again anywhere after the first cell was run.

    But the real libraries take seconds to import: those stand where they are run.
    """
    for cell_id, tree in trees(path)[1:]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None)]
                assert REAL_LIBRARIES & set(names), f"{cell_id}: {ast.unparse(node)}"


@every_lesson
def test_each_assert_has_a_sentence(path):
    """Who changes a lesson and meets an AssertionError must read what was expected, and why."""
    for cell_id, tree in trees(path):
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert):
                said = [n.value for n in ast.walk(node.msg or tree) if isinstance(n, ast.Constant)]
                words = " ".join(v for v in said if isinstance(v, str)).split() if node.msg else []
                assert len(words) >= 4, f"{cell_id}: {ast.unparse(node)}"


@every_lesson
def test_captions_are_computed_from_the_data(path):
    """After "change whatever you like" a caption must still be true."""
    for cell_id, tree in trees(path):
        for caption in captions(tree):
            assert is_computed(caption, tree), f"{cell_id}: {ast.unparse(caption)}"


def captions(tree: ast.Module) -> list[ast.expr]:
    """The alt texts that a cell gives to `figure` or `plot`, or returns for `explore`."""
    found = []
    for call in calls(tree, "figure") + calls(tree, "plot"):
        found += [keyword.value for keyword in call.keywords if keyword.arg == "alt"]
        if getattr(call.func, "id", "") == "figure" and len(call.args) > 1:
            found.append(call.args[1])
    if calls(tree, "explore"):
        returned = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
        found += [v.elts[1] for v in returned if isinstance(v, ast.Tuple) and len(v.elts) == 3]
    return found


def is_computed(node: ast.expr, tree: ast.Module) -> bool:
    """Whether a text holds anything that is not a constant, names looked up in their cell."""
    if any(isinstance(n, ast.FormattedValue | ast.Call | ast.IfExp) for n in ast.walk(node)):
        return True
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    given = [a for a in ast.walk(tree) if isinstance(a, ast.Assign | ast.AugAssign)]
    given = [(getattr(a, "targets", None) or [a.target], a.value) for a in given]
    values = [v for targets, v in given for t in targets if getattr(t, "id", None) in names]
    return any(is_computed(value, ast.Module([], [])) for value in values)


@every_lesson
def test_an_answer_is_measured_and_not_written_down(path):
    """`reveal("key", "A")` would show the answer on the screen on which one guesses."""
    for cell_id, tree in trees(path):
        for call in calls(tree, "reveal"):
            assert not isinstance(call.args[1], ast.Constant), f"{cell_id}: {ast.unparse(call)}"


@every_lesson
def test_quizzes_are_folded_and_well_mixed(path):
    for cell in code_cells(read(path)):
        if "quiz(" not in cell.source:
            continue
        hidden = cell.metadata.get("jupyter", {}).get("source_hidden")
        assert hidden, f"{cell.id}: set source_hidden, since the source names the answers"
        assert cell.source.startswith("# "), f"{cell.id}: a comment says what is folded away"
        (page,) = [text for text in texts(cell) if "<details" in text]
        questions = page.split("minipeft-quiz")[1].split("<b>")[1:]
        places = [re.findall("<p [^>]*>(Right|Not)", question) for question in questions]
        assert all(said.count("Right") == 1 for said in places)
        right = {said.index("Right") for said in places}
        assert len(right) > 1, f"{cell.id}: the right answer always has the same place"


@every_lesson
def test_drawing_is_left_to_helpers(path):
    lines = [line for cell in code_cells(read(path)) for line in cell.source.splitlines()]
    drawn = [line for line in lines if DRAWING.search(line)]
    assert len(drawn) <= MOST_DRAWING * len(lines), f"{len(drawn)} of {len(lines)}"
