"""Every lesson in a real browser: "run all" ends well, and each slider moves its figure.

Pictures of what a student sees are left in screenshots/ beside this file.
"""

import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from . import lesson as lesson_page
from .lab import ROOT, LabServer
from .lesson import SLIDER, LessonPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WITH_SLIDERS = ("02", "03")
SCREENSHOTS = Path(__file__).parent / "screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The browser itself stays offline as well: a page that asks a CDN for something fails here.
FLAGS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]

SLIDERS = """
from minipeft.course import explore, plt

def draw(r=32, scale=1.0):
    fig, ax = plt.subplots()
    ax.plot([0, r * scale])
    return fig, "A line that rises with r.", {"line": [0.0, r * scale]}

explore(draw, r=(1, 32), scale=(0.1, 10, "log"))
"""
STUCK = SLIDERS.replace("r * scale", "1.0")
FAILING = "import sys; print('a warning', file=sys.stderr); 1 / 0"


@pytest.fixture(scope="session")
def chromium():
    """The path of the system's chromium."""
    if sys.platform == "win32" or shutil.which("make") is None:
        pytest.skip("the lab is started by make, which is not installed")
    named = os.environ.get("MINIPEFT_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(
            "no chromium on PATH: install it, or set MINIPEFT_CHROMIUM to a browser of yours"
        )
    return found


@pytest.fixture(scope="session")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    samples = [
        _sample(folder, "sliders", SLIDERS),
        _sample(folder, "stuck", STUCK),
        _sample(folder, "failing", FAILING, "print('never run')"),
    ]
    with LabServer(folder, [*LESSONS, *samples]) as server:
        yield server


@pytest.fixture
def open_lesson(lab, browser):
    """Call with a notebook's name to have it opened in a page of its own."""
    pages = []

    def open_page(name: str) -> LessonPage:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        pages.append(LessonPage(page, lab.url(name)))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


def _sample(folder: Path, name: str, *sources: str) -> Path:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    path = folder / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


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
def test_lesson_runs_and_its_sliders_move(path, open_lesson):
    lesson = open_lesson(path.name)
    cells = lesson.run_all()
    lesson.screenshot(SCREENSHOTS / f"{path.stem}.png")
    assert not problems(cells), "\n".join(problems(cells))
    moved = move_every_slider(lesson)
    if moved:
        lesson.screenshot(SCREENSHOTS / f"{path.stem}_moved.png")
    assert moved or not path.name.startswith(WITH_SLIDERS), "this lesson should have a slider"
    assert not lesson.complaints, "\n".join(lesson.complaints)


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


def test_a_failing_cell_is_noticed(open_lesson):
    found = open_lesson("failing.ipynb").run_all()
    assert len(problems(found)) == 3  # stderr, the error, and the cell after it
