"""A browser, a lab server and a way to open lessons in it."""

import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from .lab import LabServer
from .lesson import LessonPage
from .samples import DESK, FAILING, SLIDERS, STUCK


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    if sys.platform == "win32" or shutil.which("make") is None:
        pytest.skip("the lab is started by make, which is not installed")
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
