"""Every lesson in a real browser: its pictures fit, and each slider moves its figure.

A lesson is opened with the outputs that are committed, and only the cells are run that its sliders
need: that all cells run well, the tests of the notebooks show. The first lesson is run as a whole,
saved, closed and opened again, as `test_desk.py` does with a sample that has one of everything.
Pictures of what a student sees are left in screenshots/ beside this file.
"""

import shutil
from pathlib import Path

import pytest

from tests.notebooks.needed import needed
from tests.notebooks.reading import LESSONS, code_cells, read

from . import lesson as lesson_page
from .lesson import SLIDER, LessonPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

FIRST = LESSONS[0]
WITHOUT_SLIDERS = ("00",)
WIDTHS = (1024, 1280, 640)  # the last is 1280 pixels at a zoom of 200%
SCREENSHOTS = Path(__file__).parent / "screenshots"
# Whatever is visible and says that a widget is gone.
BROKEN = "text=/model not found|Loading widget/i >> visible=true"


def problems(cells: list[dict]) -> list[str]:
    """What a student should not see: cells that did not run, errors, stderr."""
    found = []
    for number, cell in enumerate(cells, 1):
        if cell["count"] != number:
            found.append(f"code cell {number} was not run in its turn:\n{cell['source']}")
        found += problems_of(cell, number)
    return found


def problems_of(cell: dict, number: int) -> list[str]:
    """Errors and stderr in one cell's outputs."""
    found = []
    for output in cell["outputs"]:
        if output["output_type"] == "error":
            found.append(f"code cell {number}: {output['ename']}: {output['evalue']}")
        elif output.get("name") == "stderr":
            found.append(f"code cell {number} wrote to stderr: {output['text']}")
    return found


def move_every_slider(lesson: LessonPage) -> int:
    """Move each slider, wait for its figure to change, and count them."""
    moved = 0
    for cell in lesson.cells_with_sliders():
        for slider in cell.locator(SLIDER).all():
            lesson.move(cell, slider)
            moved += 1
    return moved


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_pictures_of_a_lesson_fit_and_its_sliders_move(path, lab, open_lesson):
    name = f"{path.stem}_with_outputs.ipynb"
    shutil.copy(path, lab.workbook / "notebooks" / name)
    lesson = open_lesson(name)
    assert [lesson.too_wide(width) for width in WIDTHS] == [[], [], []]
    lesson.too_wide(1024)
    lesson.screenshot(SCREENSHOTS / f"{path.stem}.png")
    assert lesson.page.locator(BROKEN).count() == 0

    sources = [cell.source for cell in code_cells(read(path))]
    with_sliders = [place for place, source in enumerate(sources) if "explore(" in source]
    assert with_sliders or path.name.startswith(WITHOUT_SLIDERS), "it should have a slider"
    for place in needed(sources, with_sliders):
        lesson.run(place)
        assert not problems_of(lesson.code_cells()[place], place)
    assert move_every_slider(lesson) >= len(with_sliders)
    assert not lesson.complaints, "\n".join(lesson.complaints)


def test_the_first_lesson_runs_and_is_whole_the_next_morning(open_lesson):
    lesson = open_lesson(FIRST.name)
    cells = lesson.run_all()
    assert not problems(cells), "\n".join(problems(cells))
    assert [lesson.too_wide(width) for width in WIDTHS] == [[], [], []]
    lesson.too_wide(1024)
    assert not lesson.complaints, "\n".join(lesson.complaints)

    lesson.save_and_leave()
    again = open_lesson(FIRST.name)
    again.screenshot(SCREENSHOTS / f"{FIRST.stem}_reopened.png")
    assert again.page.locator(BROKEN).count() == 0
    assert again.too_wide(1024) == []


def test_sliders_are_found_and_moved(open_lesson):
    lesson = open_lesson("sliders.ipynb")
    assert not problems(lesson.run_all())
    assert move_every_slider(lesson) == 2
    assert not lesson.complaints, "\n".join(lesson.complaints)


def test_a_slider_that_does_nothing_is_noticed(open_lesson, monkeypatch):
    from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

    monkeypatch.setattr(lesson_page, "SECONDS_TO_REDRAW", 2)
    lesson = open_lesson("stuck.ipynb")
    assert not problems(lesson.run_all())
    with pytest.raises(PlaywrightTimeoutError):
        move_every_slider(lesson)


def test_a_lost_widget_is_noticed(open_lesson):
    lesson = open_lesson("bare.ipynb")
    lesson.run_all()
    assert lesson.page.locator(BROKEN).count() == 0
    lesson.save_and_leave()
    again = open_lesson("bare.ipynb")
    again.page.wait_for_selector(BROKEN)


def test_a_failing_cell_is_noticed(open_lesson):
    found = open_lesson("failing.ipynb").run_all()
    assert len(problems(found)) == 3  # stderr, the error, and the cell after it
