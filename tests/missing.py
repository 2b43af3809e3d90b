"""Says, at the end of a test run, what was skipped for want of what, and the line that gets it."""

import platform
import sys
from collections import Counter

import pytest

CHROME_OF_A_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
# What tests with a marker need: its name, and how to get it on Linux, on a Mac, and elsewhere.
NEEDS = {
    "browser": (
        "chromium",
        "sudo apt-get install {chromium} fonts-liberation",
        f'brew install --cask google-chrome && export MINIPEFT_CHROMIUM="{CHROME_OF_A_MAC}"',
        "these tests start the lab by make, on Linux or a Mac",
    ),
    "sandbox": (
        "bubblewrap",
        "sudo apt-get install bubblewrap",
        *["it is for Linux alone; a Linux machine runs these tests"] * 2,
    ),
    "compiler": (
        "a C++ compiler",
        "sudo apt-get install g++",
        "xcode-select --install",
        "it takes Visual Studio's C++ build tools",
    ),
    "gpu": (
        "an NVIDIA GPU",
        "it takes NVIDIA's driver, and a torch built for CUDA, as pip's usual one is",
        "no Mac has one; Linux with such a card runs these tests",
        "it takes NVIDIA's driver, and a torch for CUDA: https://pytorch.org/get-started/locally/",
    ),
}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Write a test's needs into its report, which a worker of xdist sends on."""
    outcome = yield
    outcome.get_result().needs = [need for need in NEEDS if item.get_closest_marker(need)]


def pytest_terminal_summary(terminalreporter):
    """Write one line for each need; pytest's own counts still close the output."""
    skipped = terminalreporter.stats.get("skipped", [])
    found = Counter(need for report in skipped for need in getattr(report, "needs", []))
    if found:
        terminalreporter.section("skipped for want of")
    for need, (name, *ways) in NEEDS.items():
        if found[need]:
            tests = f"{found[need]} test{'s' if found[need] > 1 else ''}"
            terminalreporter.line(f"{name} ({tests}): {way(*ways)}")


def way(linux: str, mac: str, elsewhere: str, system: str = sys.platform) -> str:
    """How this system gets it. Ubuntu's name for the browser differs from Debian's."""
    if not system.startswith("linux"):
        return mac if system == "darwin" else elsewhere
    ubuntu = _release().get("ID") == "ubuntu"
    return linux.format(chromium="chromium-browser" if ubuntu else "chromium")


def _release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
