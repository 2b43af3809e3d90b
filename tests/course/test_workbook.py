"""Nothing that a student wrote is ever lost, and nobody meets a merge conflict."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from scripts import workbook

ROOT = Path(__file__).parents[2]
LESSON, EXERCISE = "notebooks/02_rank.ipynb", "exercises/02_rank.ipynb"
NEW = "notebooks/02_rank_new.ipynb"


class Course:
    """A course of one lesson and one exercise, and the workbook made from it."""

    def __init__(self, folder: Path):
        self.course, self.mine = folder / "course", folder / "mine"
        self.publish(1)

    def publish(self, version: int) -> None:
        """Write a version of the course; its lessons are committed with their outputs."""
        for name in (LESSON, EXERCISE):
            output = new_output("stream", name="stdout", text="51\n")
            code = new_code_cell(f"print({version})", execution_count=1, outputs=[output], id="a")
            notebook = new_notebook(cells=[new_markdown_cell(f"# Version {version}", id="t"), code])
            (self.course / name).parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, self.course / name)

    def update(self) -> list[str]:
        return workbook.update(self.mine, self.course)

    def work(self, name: str = LESSON, what: str = "mine") -> bytes:
        """Add a cell to a copy, as a student does; returns the file's bytes."""
        notebook = nbformat.read(self.mine / name, as_version=4)
        notebook.cells.insert(1, new_code_cell(what, id="own"))
        nbformat.write(notebook, self.mine / name)
        return (self.mine / name).read_bytes()

    def version(self, name: str = LESSON) -> str:
        return nbformat.read(self.mine / name, as_version=4).cells[0].source

    def files(self) -> set[str]:
        return {p.relative_to(self.mine).as_posix() for p in self.mine.rglob("*.ipynb")}


@pytest.fixture
def course(tmp_path):
    return Course(tmp_path)


def test_the_first_copies_hold_no_answers(course):
    assert course.update() == [f"{LESSON}: new", f"{EXERCISE}: new"]
    code = nbformat.read(course.mine / LESSON, as_version=4).cells[1]
    assert code.outputs == [] and code.execution_count is None
    assert course.update() == []


def test_an_untouched_copy_is_replaced(course):
    course.update()
    notebook = nbformat.read(course.mine / LESSON, as_version=4)
    notebook.metadata["language_info"] = {"name": "python", "version": "3.99"}  # opened and saved
    nbformat.write(notebook, course.mine / LESSON)
    course.publish(2)
    assert course.update()[0] == f"{LESSON}: updated, you had not touched it"
    assert course.version() == "# Version 2" and course.files() == {LESSON, EXERCISE}


def test_where_someone_worked_the_new_version_is_put_beside(course):
    course.update()
    mine = course.work()
    course.publish(2)
    said = course.update()
    assert said[0] == f"{LESSON}: you worked on it, so it stays. The newer version is in {NEW}"
    assert (course.mine / LESSON).read_bytes() == mine
    assert course.version(NEW) == "# Version 2"
    assert course.update() == []


def test_what_was_only_run_stays_too(course):
    course.update()
    notebook = nbformat.read(course.mine / LESSON, as_version=4)
    notebook.cells[1].outputs = [new_output("stream", name="stdout", text="1\n")]
    nbformat.write(notebook, course.mine / LESSON)
    mine = (course.mine / LESSON).read_bytes()
    course.publish(2)
    course.update()
    assert (course.mine / LESSON).read_bytes() == mine and NEW in course.files()


def test_many_updates_lose_nothing_and_pile_nothing_up(course):
    course.update()
    mine = course.work()
    for version in (2, 3):
        course.publish(version)
        course.update()
        assert course.files() == {LESSON, EXERCISE, NEW}, "an untouched new version is replaced"
        assert course.version(NEW) == f"# Version {version}"
    also_mine = course.work(NEW, "more")
    course.publish(4)
    course.update()
    assert (course.mine / LESSON).read_bytes() == mine
    assert (course.mine / NEW).read_bytes() == also_mine
    assert course.version("notebooks/02_rank_new_2.ipynb") == "# Version 4"


def test_someone_who_has_the_new_version_already_gets_no_second_one(course):
    course.update()
    course.publish(2)
    text = workbook.course_files(course.course)[LESSON]
    (course.mine / LESSON).write_bytes(text)
    course.update()
    assert course.files() == {LESSON, EXERCISE}


def test_a_deleted_copy_comes_back_fresh(course):
    course.update()
    course.work()
    (course.mine / LESSON).unlink()
    assert course.update() == [f"{LESSON}: new"]


@pytest.mark.parametrize("memory", ["", "{", '{"copies": 3}', "[]", None])
def test_a_lost_memory_loses_no_work(course, memory):
    course.update()
    mine = course.work()
    path = course.mine / workbook.MEMORY
    path.unlink() if memory is None else path.write_text(memory)
    assert course.update() == [
        f"{LESSON}: you worked on it, so it stays. The newer version is in {NEW}"
    ]
    course.publish(2)
    course.update()
    assert (course.mine / LESSON).read_bytes() == mine
    assert course.version(EXERCISE) == "# Version 2"


def test_a_damaged_copy_stays(course):
    course.update()
    (course.mine / LESSON).write_text('{"cells": [half a')
    course.publish(2)
    course.update()
    assert (course.mine / LESSON).read_text() == '{"cells": [half a'
    assert course.version(NEW) == "# Version 2"


def test_files_of_ones_own_and_withdrawn_lessons_stay(course):
    course.update()
    (course.mine / "notebooks" / "notes.ipynb").write_text("mine")
    (course.course / LESSON).unlink()
    course.update()
    assert course.files() == {LESSON, EXERCISE, "notebooks/notes.ipynb"}


def test_guesses_made_before_there_was_a_workbook_come_along(course):
    old, new = (folder / workbook.GUESSES for folder in (course.course, course.mine))
    old.parent.mkdir(parents=True)
    old.write_text('{"key": "a", "guess": 1}\n')
    course.update()
    assert new.read_text() == old.read_text()
    new.write_text("newer\n")
    course.update()
    assert new.read_text() == "newer\n"


def test_an_update_that_breaks_off_is_finished_by_the_next(course, monkeypatch):
    course.update()
    course.work()
    course.publish(2)
    write, calls = workbook.atomic_write, []

    def failing(path, data):
        calls.append(path)
        if len(calls) == 3:
            raise OSError("the disk is full")
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(workbook, "atomic_write", failing)
        with pytest.raises(OSError, match="disk is full"):
            course.update()
    course.update()
    assert course.files() == {LESSON, EXERCISE, NEW}
    assert course.version(NEW) == course.version(EXERCISE) == "# Version 2"


def test_the_real_course_as_a_command(tmp_path):
    command = [sys.executable, "scripts/workbook.py", "--workbook", str(tmp_path / "mine")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "notebooks/00_start_here.ipynb: new" in done.stdout
    names = {p.relative_to(ROOT).as_posix() for p in ROOT.glob("[ne]*[ks]*/*.ipynb")}
    delivered = json.loads((tmp_path / "mine" / workbook.MEMORY).read_text())["newest"]
    assert set(delivered) == names | {"AGENTS.md"}
    for name in names:
        notebook = nbformat.read(tmp_path / "mine" / name, as_version=4)
        nbformat.validate(notebook)
        assert not any(cell.get("outputs") for cell in notebook.cells)


def test_links_between_lessons_and_exercises_hold_in_the_workbook(tmp_path):
    workbook.update(tmp_path)
    for path in tmp_path.glob("*/*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            for link in links(cell.source) if cell.cell_type == "markdown" else []:
                assert (path.parent / link).exists(), (path.name, link)


def links(text: str) -> list[str]:
    """The files of the course that a text links to."""
    text = re.sub("```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    found = re.findall(r"\]\(([^)#]+)\)", text)
    return [link for link in found if not link.startswith(("http", "attachment", "#"))]


def test_git_leaves_the_workbook_alone():
    asked = subprocess.run(["git", "check-ignore", "workbook/x"], cwd=ROOT, capture_output=True)
    assert asked.returncode in (0, 128), "workbook/ is not in .gitignore"  # 128: not a clone
