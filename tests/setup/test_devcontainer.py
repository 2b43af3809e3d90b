"""The container of Codespaces and VS Code has what the course needs, from our own files."""

import json
import re

from packaging.specifiers import SpecifierSet

from .project import PROJECT, ROOT

FOLDER = ROOT / ".devcontainer"


def test_its_python_will_do_and_its_packages_are_those_of_ci():
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    version = re.search(r"^FROM python:(\d+\.\d+)", text, flags=re.MULTILINE)[1]
    assert version in SpecifierSet(PROJECT["requires-python"])
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for package in ("bubblewrap", "chromium", "fonts-liberation"):
        assert package in text and package in ci


def test_its_commands_are_there():
    settings = json.loads((FOLDER / "devcontainer.json").read_text(encoding="utf-8"))
    assert (FOLDER / settings["build"]["dockerfile"]).exists()
    setup, workbook = settings["postCreateCommand"].split(" && ")
    assert setup.removeprefix("make ") in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert (ROOT / workbook.split()[1]).exists()
