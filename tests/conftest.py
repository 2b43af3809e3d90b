"""What holds for every test: no network, one seed, a fixed number of threads."""

import os
import random
import shutil
import sys
from pathlib import Path

from tests import processor

OFFLINE = Path(__file__).parent / "offline"
# The compiler that torch.compile looks for.
CXX = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")

# Set before transformers is imported, and inherited by kernels and every other child.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(OFFLINE), *filter(None, [os.environ.get("PYTHONPATH")])]
)
os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "0"}
os.environ |= processor.settings(os.environ)
if sys.path[0] != str(OFFLINE):
    sys.path.insert(0, str(OFFLINE))

from collections.abc import Iterator

import numpy as np
import offline_guard
import pytest
import torch
from hypothesis import settings

offline_guard.block()
settings.register_profile("tests", derandomize=True, deadline=None, database=None)
settings.load_profile("tests")


def pytest_configure(config):
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skip what the machine lacks; seed; allow loopback to what talks to a server or a kernel.

    torch.compile counts how often it recompiles a function in the whole process, and gives up at
    eight: each test begins at zero, whichever files share its worker.
    """
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("this machine has no NVIDIA GPU")
    if item.get_closest_marker("compiler") and not shutil.which(CXX):
        pytest.skip(f"torch.compile needs a C++ compiler, and {CXX} is not installed")
    is_notebook_cell = not isinstance(item, pytest.Function)
    offline_guard.loopback_allowed = is_notebook_cell or bool(item.get_closest_marker("browser"))
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    if compiler := sys.modules.get("torch._dynamo"):
        compiler.reset()


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The browser itself stays offline as well: a page that asks a CDN for something fails here.
BROWSER_FLAGS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


@pytest.fixture(scope="session")
def chromium():
    """The path of the system's chromium."""
    named = os.environ.get("MINIPEFT_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(
            "no chromium on PATH: install it, or set MINIPEFT_CHROMIUM to a browser of yours"
        )
    return found


@pytest.fixture(scope="session")
def browser(chromium):
    """One browser for all tests of a worker: Playwright's loop can't be started twice."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def _no_method_is_left_behind() -> Iterator[None]:
    """An exercise's or a test's own method enters itself in METHODS, for all tests to come."""
    from minipeft.methods import METHODS

    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)
