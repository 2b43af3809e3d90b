"""Every lesson in a real browser: "run all" ends well, and each slider moves its figure.

Pictures of what a student sees are left in screenshots/ beside this file.
"""

from pathlib import Path

import pytest

from . import lesson as lesson_page
from .lab import ROOT
from .lesson import SLIDER, LessonPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
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
def test_lesson_runs_and_is_whole_the_next_morning(path, open_lesson):
    lesson = open_lesson(path.name)
    cells = lesson.run_all()
    assert not problems(cells), "\n".join(problems(cells))
    assert [lesson.too_wide(width) for width in WIDTHS] == [[], [], []]
    lesson.too_wide(1024)
    moved = move_every_slider(lesson)
    lesson.screenshot(SCREENSHOTS / f"{path.stem}.png")
    assert moved or path.name.startswith(WITHOUT_SLIDERS), "this lesson should have a slider"
    assert not lesson.complaints, "\n".join(lesson.complaints)

    lesson.save_and_leave()
    again = open_lesson(path.name)
    again.screenshot(SCREENSHOTS / f"{path.stem}_reopened.png")
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
