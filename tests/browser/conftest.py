"""A browser, a lab server and a way to open lessons in it."""

import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from .lab import LabServer
from .lesson import LessonPage
from .samples import DESK, FAILING, SLIDERS, STUCK

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The browser itself stays offline as well: a page that asks a CDN for something fails here.
FLAGS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


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
        _sample(folder, "bare", "import ipywidgets\nipywidgets.IntSlider()"),
        _sample(folder, "desk", *DESK),
    ]
    with LabServer(folder, samples) as server:
        yield server


@pytest.fixture
def open_lesson(lab, browser):
    """Call with a notebook's name to have it opened in a page of its own."""
    pages = []

    def open_page(name: str) -> LessonPage:
        page = browser.new_page(viewport={"width": 1024, "height": 768})
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
