"""Bring workbook/ up to date: a student's own copies of the lessons and exercises.

    python scripts/workbook.py             # `make lab` does it too

A copy that was never touched is replaced by a newer one. Where someone has worked, the file stays
as it is and the newer version is put beside it, under a name that ends in _new. Nothing that a
student wrote is ever changed, merged or deleted; a copy that was deleted comes back fresh.

`workbook/.course.json` remembers what was delivered: for each copy the fingerprint it had, and for
each file of the course the fingerprint of its newest version.
"""

import argparse
import hashlib
import itertools
import json
import sys
from pathlib import Path, PurePosixPath

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft.core.disk import atomic_write  # noqa: E402

FOLDERS = ("notebooks", "exercises")
MEMORY = ".course.json"
GUESSES = PurePosixPath("notebooks/.minipeft/predictions.jsonl")


def course_files(course: Path) -> dict[str, bytes]:
    """What a workbook holds, by path: lessons without outputs, exercises, the tutor's rules."""
    paths = [path for folder in FOLDERS for path in sorted((course / folder).glob("*.ipynb"))]
    files = {path.relative_to(course).as_posix(): _without_outputs(path) for path in paths}
    for name in ("AGENTS.md",):  # lessons link to it, and assistants look for it
        if (course / name).exists():
            files[name] = (course / name).read_bytes()
    return files


def fingerprint(name: str, data: bytes) -> str:
    """A digest of what a person could have changed.

    Of a notebook that is every cell's kind, text and outputs. JupyterLab rewrites the rest when a
    notebook is only opened and saved.
    """
    if name.endswith(".ipynb"):
        try:
            cells = nbformat.reads(data.decode(), as_version=4).cells
            seen = [
                [c.cell_type, c.source, c.get("outputs", []), c.get("attachments", {})]
                for c in cells
            ]
            data = json.dumps(seen, sort_keys=True).encode()
        except Exception:  # damaged: then its bytes are what someone may want to save
            pass
    return hashlib.sha256(data).hexdigest()[:16]


class Workbook:
    """The folder of one student's copies."""

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            memory = json.loads((folder / MEMORY).read_text(encoding="utf-8"))
            self.copies, self.newest = dict(memory["copies"]), dict(memory["newest"])
        except (OSError, ValueError, KeyError, TypeError):
            self.copies, self.newest = {}, {}  # then what differs from the course counts as touched

    def update(self, files: dict[str, bytes]) -> list[str]:
        """Deliver the course's files; returns what to tell the student, a line for each change."""
        said = []
        for name, data in files.items():
            new = fingerprint(name, data)
            if self.newest.get(name) == new and (self.folder / name).exists():
                continue
            place = self._place(name, new)
            if self._seen(place) != new:
                known = (self.folder / place).exists()
                atomic_write(self.folder / place, data)
                said += [self._message(name, place, known)]
            self.copies[place], self.newest[name] = new, new
            self._remember()
        return said

    def _place(self, name: str, new: str) -> str:
        """The first path for this file where nothing of the student's would be lost."""
        for place in _beside(name):
            seen = self._seen(place)
            if seen in (None, new, self.copies.get(place)):
                return place
        raise AssertionError("there is always another name")

    def _seen(self, place: str) -> str | None:
        path = self.folder / place
        return fingerprint(place, path.read_bytes()) if path.exists() else None

    def _message(self, name: str, place: str, known: bool) -> str:
        if place == name:
            return f"{name}: {'updated, you had not touched it' if known else 'new'}"
        return f"{name}: you worked on it, so it stays. The newer version is in {place}"

    def _remember(self) -> None:
        memory = {"copies": self.copies, "newest": self.newest}
        atomic_write(self.folder / MEMORY, json.dumps(memory, indent=1, sort_keys=True).encode())


def _without_outputs(path: Path) -> bytes:
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("minipeft", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return (nbformat.writes(notebook) + "\n").encode()


def _beside(name: str):
    """a/b.ipynb, a/b_new.ipynb, a/b_new_2.ipynb, ..."""
    path = PurePosixPath(name)
    yield name
    yield str(path.with_stem(f"{path.stem}_new"))
    for number in itertools.count(2):
        yield str(path.with_stem(f"{path.stem}_new_{number}"))


def bring_guesses(course: Path, folder: Path) -> None:
    """Take along the guesses of someone who worked in notebooks/ before there was a workbook."""
    old, new = course / GUESSES, folder / GUESSES
    if old.exists() and not new.exists():
        new.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(new, old.read_bytes())


def update(folder: Path, course: Path = ROOT) -> list[str]:
    """Bring the workbook in `folder` up to date; returns what to tell the student."""
    for name in ("", *FOLDERS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    bring_guesses(course, folder)
    return Workbook(folder).update(course_files(course))


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Bring the student's copies up to date.")
    parser.add_argument("--workbook", type=Path, default=ROOT / "workbook", help="their folder")
    parser.add_argument("--course", type=Path, default=ROOT, help="the folder above notebooks/")
    options = parser.parse_args(arguments)
    for line in update(options.workbook, options.course):
        print(line)
    print(f"Your copies are in {options.workbook.name}/")


if __name__ == "__main__":
    main()
