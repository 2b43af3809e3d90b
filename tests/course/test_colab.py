"""Installed beside what is there, as in Colab, minipeft replaces nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a hosted notebook brings, by when; none of it is the version that we pin.
FOUND = {
    "a Colab of 2025": {
        "numpy": "2.0.2",
        "torch": "2.8.0+cu126",
        "safetensors": "0.6.2",
        "tokenizers": "0.21.4",
    },
    "the oldest that will do": {
        "numpy": "2.0.0",
        "torch": "2.6.0",
        "safetensors": "0.4.5",
        "tokenizers": "0.20.0",
    },
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--no-index", "--quiet", "--wheel-dir", folder, str(ROOT)], check=True
    )
    return next(folder.glob("minipeft-*.whl"))


def environment(folder: Path, packages: dict[str, str]) -> Path:
    """An environment in which pip sees these packages; returns its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.rglob("site-packages")
    for name, version in packages.items():
        record = site / f"{name}-{version}.dist-info"
        record.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (record / "METADATA").write_text(metadata)
        (record / "RECORD").write_text("")
        (record / "INSTALLER").write_text("pip\n")
    return folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def would_install(python: Path, wheel: Path, report: Path) -> set[str]:
    """What `pip install` of the wheel brings into an environment, without a network."""
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "install", "--no-index", "--dry-run", "--report", str(report), str(wheel)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {entry["metadata"]["name"] for entry in json.loads(report.read_text())["install"]}


@pytest.mark.parametrize("found", FOUND)
def test_nothing_that_is_there_is_replaced(found, wheel, tmp_path):
    python = environment(tmp_path / "env", FOUND[found])
    assert would_install(python, wheel, tmp_path / "report.json") == {"minipeft"}


def test_what_is_too_old_is_noticed(wheel, tmp_path):
    python = environment(tmp_path / "env", FOUND["a Colab of 2025"] | {"numpy": "1.26.4"})
    with pytest.raises(AssertionError, match="numpy"):
        would_install(python, wheel, tmp_path / "report.json")
