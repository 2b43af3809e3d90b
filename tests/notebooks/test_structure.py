"""Lessons have the shape that their readers learn to expect."""

import re
import statistics

import pytest

from scripts.normalise import BADGE, badge_text, is_folded
from tests.notebooks.reading import (
    LESSONS,
    code,
    code_cells,
    headings,
    markdown,
    named,
    pictures,
    read,
)

every_lesson = pytest.mark.parametrize("path", LESSONS, ids=named)

# Lesson 00 gives a taste and a map: it may be shorter, and has nothing to break or to exercise.
SHORT = "00"
# The headings of level 2 that every lesson has, in this order; others may stand between them.
HEADINGS = [
    "You will be able to",
    "Break it",
    "Exercises|Try it",
    "Quick questions",
    "Recap",
    ".*real libraries",
    "References",
]
IN_THE_SHORT_LESSON = ["You will be able to", "Quick questions", "Recap"]
MOST_LINES = 30


def is_short(path) -> bool:
    return path.name.startswith(SHORT)


@every_lesson
def test_opens_with_title_question_and_running_time(path):
    notebook = read(path)
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert re.match(rf"# {path.name[:2]} · \S", first.source)
    assert "?" in first.source, "a lesson answers one question"
    badge = BADGE.search(first.source)
    assert badge, "put <!-- runtime --><!-- /runtime --> below the title"
    assert badge_text(notebook) in badge[0], "run `make notebooks`"


@every_lesson
def test_headings_in_order(path):
    wanted = IN_THE_SHORT_LESSON if is_short(path) else HEADINGS
    missing = iter(wanted)
    awaited = next(missing)
    for heading in headings(read(path)):
        if awaited and re.match(awaited, heading):
            awaited = next(missing, None)
    assert awaited is None, f"the heading {awaited!r} is missing or out of place"


@every_lesson
def test_has_its_parts(path):
    notebook = read(path)
    source = code(notebook)
    assert re.search(rf'start\((lesson=)?"{path.name[:2]}"', source)
    assert source.count("Question(") >= 3 and "quiz(" in source
    if not is_short(path):
        assert re.search(r"^\s*assert ", source, flags=re.MULTILINE), "check an invariant"
        recap = markdown(notebook).split("## Recap")[1].split("\n## ")[0]
        assert "$" in recap, "the recap has one equation"


@every_lesson
def test_each_answer_comes_after_its_prediction(path):
    source = code(read(path))
    guessed, shown = first_uses("predict", source), first_uses("reveal", source)
    assert guessed, "ask for a prediction"
    assert guessed.keys() == shown.keys()
    assert all(guessed[key] < shown[key] for key in guessed)


def first_uses(function: str, source: str) -> dict[str, int]:
    """Where a function is first called with each key."""
    found = {}
    for call in re.finditer(rf"\b{function}\(\s*['\"]([^'\"]+)", source):
        found.setdefault(call[1], call.start())
    return found


@every_lesson
def test_cells_are_many_and_small(path):
    notebook = read(path)
    lines = {
        cell.id: sum(bool(line.strip()) for line in cell.source.splitlines())
        for cell in code_cells(notebook)
    }
    assert max(lines.values()) <= MOST_LINES, max(lines, key=lines.get)
    read_closely = [lines[cell.id] for cell in code_cells(notebook)[1:] if not is_folded(cell)]
    assert statistics.median(read_closely) <= 8, "all but the imports and the quiz"
    assert len(notebook.cells) <= 45
    assert is_short(path) or len(notebook.cells) >= 25


@every_lesson
def test_length_of_the_text(path):
    unread = r"<!--.*?-->|\]\([^)]*\)"  # comments, and where links lead
    text = re.sub(unread, "", markdown(read(path)), flags=re.DOTALL)
    words = len(re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text))
    assert words <= 2000
    assert is_short(path) or words >= 1200


@every_lesson
def test_figures_are_few_and_have_words(path):
    found = pictures(read(path))
    for cell_id, output in found:
        assert output.metadata.get("image/png", {}).get("alt"), f"{cell_id}: show it with figure()"
    assert len(found) <= 5
    assert is_short(path) or len(found) >= 3


@every_lesson
def test_cell_ids_can_be_read(path):
    ids = [cell.id for cell in read(path).cells]
    assert len(set(ids)) == len(ids)
    drawn = [name for name in ids if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", name)]
    assert not drawn, "give cells ids of your own, as in 03-zero-gradient"


@every_lesson
def test_says_train_steps_not_seconds(path):
    assert not re.search(r"\btrain\([^)]*seconds=", code(read(path))), "results must not vary"
