"""Finds what was handed in: nbgrader's folders, or one flat folder of STUDENT.ipynb files."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .notebook import Unreadable, read_plain_file
from .tasks import Exercise


@dataclass(frozen=True)
class Submission:
    """One student's notebook; `path` is None, with the reason as `trouble`, where there is none."""

    student: str
    assignment: str
    path: Path | None
    timestamp: str = ""
    trouble: str = ""


def find_submissions(folder: Path, exercise: Exercise) -> list[Submission]:
    """All submissions to one exercise, in the order of the students' names.

    nbgrader's layout is STUDENT/ASSIGNMENT/NOTEBOOK.ipynb, here or below `submitted/`. Links are
    not followed: a link could make one student's work another's. Raises ValueError for a folder
    that holds neither.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {str(folder)!r}")
    if (folder / "submitted").is_dir():
        folder = folder / "submitted"
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    flat = [entry for entry in entries if entry.suffix == ".ipynb"]
    students = [entry for entry in entries if entry.suffix != ".ipynb" and entry.is_dir()]
    found = [Submission(e.stem, exercise.notebook, e) for e in flat]
    found += [_of_student(student, exercise) for student in students]
    if not found:
        raise ValueError(
            f"{str(folder)!r} holds no submissions: neither STUDENT/ASSIGNMENT/"
            f"{exercise.notebook}.ipynb nor STUDENT.ipynb"
        )
    return sorted(found, key=lambda submission: submission.student)


def _of_student(student: Path, exercise: Exercise) -> Submission:
    """The submission in one student's folder of nbgrader's layout."""
    name = f"{exercise.notebook}.ipynb"
    nothing = Submission(student.name, exercise.notebook, None, trouble="nothing was handed in")
    if student.is_symlink():
        return nothing
    try:
        assignments = sorted(a for a in student.iterdir() if a.is_dir() and not a.is_symlink())
        for assignment in assignments:
            if (assignment / name).is_symlink() or (assignment / name).exists():
                return _submission(student, assignment, assignment / name)
        for assignment in assignments:  # renamed, as browsers do: "... (1).ipynb"
            copies = sorted(assignment.glob(f"{exercise.notebook}*.ipynb"))
            if len(copies) == 1:
                return _submission(student, assignment, copies[0])
    except OSError as error:
        return Submission(student.name, exercise.notebook, None, trouble=f"{error.strerror}")
    return nothing


def _submission(student: Path, assignment: Path, path: Path) -> Submission:
    return Submission(student.name, assignment.name, path, _timestamp(assignment))


def _timestamp(assignment: Path) -> str:
    """When it was handed in, as nbgrader noted it; "" where it did not, or where it is no time."""
    try:
        text = read_plain_file(assignment / "timestamp.txt", 200).decode().strip()
        return str(datetime.fromisoformat(text.removesuffix(" UTC")))
    except (Unreadable, ValueError):
        return ""
