"""A student's desk: a guess counts, keys move, and what was saved is whole the next morning."""

import shutil
import subprocess
import sys

import pytest

from .lesson import RUN_ONE
from .test_lessons import BROKEN, SCREENSHOTS, WIDTHS, move_every_slider

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

GUESS, REVEAL, TRAIN = 1, 2, 3  # places of the code cells of the sample
TWIN = ".jp-OutputArea-output img[alt], .jp-RenderedImage img"
FOCUSED = "() => document.activeElement.textContent"
OPENED = "() => [...document.querySelectorAll('.minipeft-quiz details')].map(d => d.open)"


@pytest.fixture
def desk(lab, request):
    """The name of a copy of the sample that is this test's alone."""
    name = f"{request.node.originalname}.ipynb"
    shutil.copy(lab.workbook / "notebooks" / "desk.ipynb", lab.workbook / "notebooks" / name)
    return name


def pick_with_keys(page) -> None:
    """Answer the quiz by keyboard alone."""
    options = page.locator(".minipeft-quiz summary")
    options.first.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate(FOCUSED) == options.nth(1).text_content()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")  # around the end
    assert page.evaluate(FOCUSED) == options.nth(2).text_content()
    page.keyboard.press("Enter")
    assert page.evaluate(OPENED) == [False, False, True]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert page.evaluate(OPENED) == [False, True, False], "one answer at a time"


def test_none_guess_reveal_save_close_reopen_and_move(desk, open_lesson):
    lesson = open_lesson(desk)
    lesson.run_all()
    assert "put yours in place of None" in lesson.run(GUESS)[0]
    said = lesson.run(GUESS, "predict('99-share', guess=40, example=90, unit='%')")
    assert "Your prediction: 40 %" in said[0]
    assert "Your prediction: 40 %, 11 percentage points too small" in lesson.run(REVEAL)[0]
    pick_with_keys(lesson.page)
    assert move_every_slider(lesson) == 2
    assert [lesson.too_wide(width) for width in WIDTHS] == [[], [], []]
    lesson.too_wide(1024)
    lesson.screenshot(SCREENSHOTS / "desk.png")
    assert not lesson.complaints, "\n".join(lesson.complaints)

    lesson.save_and_leave(keep_kernel=True)
    noon = open_lesson(desk)
    noon.page.wait_for_selector(".minipeft-live img")
    assert noon.page.locator(".minipeft-twin").is_hidden()
    assert move_every_slider(noon) == 2
    noon.save_and_leave()

    morning = open_lesson(desk)
    morning.page.wait_for_selector(".minipeft-twin")
    morning.screenshot(SCREENSHOTS / "desk_reopened.png")
    assert morning.page.locator(BROKEN).count() == 0
    assert morning.page.locator(".jp-RenderedImage img >> visible=true").count() == 2
    assert "300 of 300 steps" in morning.page.locator(".jp-Notebook").inner_text()
    pick_with_keys(morning.page)
    morning.run_all()
    assert move_every_slider(morning) == 2


def test_a_saved_page_shows_figure_and_quiz_offline(desk, lab, open_lesson, browser):
    lesson = open_lesson(desk)
    lesson.run_all()
    lesson.save_and_leave()
    path = lab.workbook / "notebooks" / desk
    subprocess.run(
        [sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", str(path)],
        check=True,
        capture_output=True,
    )
    page = browser.new_page(viewport={"width": 1024, "height": 768})
    page.goto(path.with_suffix(".html").as_uri())
    pictures = page.locator(".jp-RenderedImage img >> visible=true")
    assert pictures.count() == 2  # the loss and the figure with sliders
    assert pictures.last.evaluate("image => image.naturalWidth") > 100
    assert page.get_by_text("Figure: A line that rises to 32.0.").is_visible()
    pick_with_keys(page)
    assert (
        page.get_by_text("Not quite.")
        .or_(page.get_by_text("Right."))
        .locator("visible=true")
        .count()
    )
    page.screenshot(path=SCREENSHOTS / "desk_saved_page.png", full_page=True)
    page.close()


def test_interrupting_a_training_is_one_line_and_keeps_the_history(desk, open_lesson):
    lesson = open_lesson(desk)
    lesson.run(0)
    source = (
        "import torch\nfrom torch import nn\n"
        "model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))\n"
        "ids = torch.randint(9, (2, 5))\n"
        "train(model, [(ids, ids)], steps=10**7)"
    )
    page = lesson.page
    running = "([number, source]) => { window.running = (RUN)([number, source]); }"
    page.evaluate(running.replace("RUN", RUN_ONE), [TRAIN, source])
    page.wait_for_selector("text=/training .* of 1e\\+07 steps/")
    page.evaluate("() => jupyterapp.commands.execute('notebook:interrupt-kernel')")
    page.evaluate("() => window.running")
    error = page.locator(".jp-RenderedText").last.inner_text().strip()
    assert error.startswith("Stopped after ") and "\n" not in error
    page.screenshot(path=SCREENSHOTS / "desk_stopped.png")
    assert lesson.run(1, "print(History.latest.steps > 0)") == ["True\n"]


def test_a_word_without_quotes_is_one_line(desk, open_lesson):
    lesson = open_lesson(desk)
    lesson.run(0)
    lesson.run(GUESS, "predict('99-share', guess=only B, example='A')")
    said = lesson.page.locator(".jp-RenderedText >> nth=-1").inner_text()
    assert said.strip() == 'Use quotes around a word: guess="only B"'
    lesson.page.screenshot(path=SCREENSHOTS / "desk_quotes.png")


def test_no_menus_for_graders_and_no_news(desk, open_lesson):
    lesson = open_lesson(desk)
    lesson.page.wait_for_timeout(3000)
    menus = lesson.page.locator(".lm-MenuBar-itemLabel").all_inner_texts()
    assert "Run" in menus and "Nbgrader" not in menus
    page = lesson.page.locator("body").inner_text()
    for word in ("Nbgrader", "Create Assignment", "Validate", "news about official Jupyter"):
        assert word not in page
    commands = lesson.page.evaluate("() => jupyterapp.commands.listCommands()")
    assert not [name for name in commands if "nbgrader" in name]


def test_the_dark_theme_can_be_read(desk, open_lesson):
    lesson = open_lesson(desk)
    lesson.page.evaluate(
        "() => jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    lesson.run_all()
    lesson.page.wait_for_selector(".minipeft-live img")
    lesson.screenshot(SCREENSHOTS / "desk_dark.png")
    red = "element => Number(getComputedStyle(element).%s.match(/[0-9]+/)[0])"
    words = lesson.page.locator(".minipeft-words >> visible=true").first
    assert words.evaluate(red % "color") > 180
    assert lesson.page.locator(".jp-Notebook").evaluate(red % "backgroundColor") < 60
