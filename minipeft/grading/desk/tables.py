"""The tables: grades.csv in nbgrader's columns, and what Canvas and Moodle import."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from ..similarity import Pair
from ..tasks import Exercise
from .late import Rule
from .marks import Mark
from .spreadsheet import BOM, safe_row

# the columns of nbgrader's own export (nbgrader.plugins.CsvExportPlugin), in its order
COLUMNS = (
    "assignment",
    "duedate",
    "timestamp",
    "student_id",
    "last_name",
    "first_name",
    "email",
    "raw_score",
    "late_submission_penalty",
    "score",
    "max_score",
)


def written(rows: Iterable[Sequence[object]], bom: bool = True) -> str:
    """The text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(safe_row(row) for row in rows)
    return (BOM if bom else "") + text.getvalue()


def grades(marks: Sequence[Mark], exercise: Exercise, rule: Rule) -> str:
    """grades.csv: nbgrader's columns, then one for each part. What waits for a person is empty."""
    parts = [part.name for part in (*exercise.tasks, *exercise.by_hand)]
    rows: list[Sequence[object]] = [[*COLUMNS, "days_late", *parts]]
    for mark in marks:
        first, _, last = mark.handin.name.rpartition(" ") if mark.handin.on else ("", "", "")
        known = {
            "assignment": mark.handin.assignment,
            "duedate": str(rule.due or ""),
            "timestamp": mark.handin.timestamp,
            "student_id": mark.student,
            "last_name": last,
            "first_name": first,
            "email": mark.handin.on.email if mark.handin.on else "",
            "raw_score": float(mark.raw),
            "late_submission_penalty": float(mark.penalty),
            "score": float(mark.score),
            "max_score": float(exercise.points),
        }
        points = ["" if mark.points[part] is None else mark.points[part] for part in parts]
        rows.append([known[column] for column in COLUMNS] + [f"{mark.days_late:g}", *points])
    return written(rows)


def canvas(marks: Sequence[Mark], exercise: Exercise, column: str) -> str:
    """What Canvas's gradebook imports: its own columns, and one for the assignment."""
    header = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", column]
    rows: list[Sequence[object]] = [
        header,
        ["    Points Possible", "", "", "", "", exercise.points],
    ]
    for mark in marks:
        line = mark.handin.on
        number = line.canvas if line and line.canvas else _number(mark, "canvas")
        if number:
            sis = line.id if line and line.id != number else ""
            about = [line.known_as or line.name if line else mark.handin.name, number, sis]
            about += [line.login if line else "", line.section if line else ""]
            rows.append([*about, f"{mark.score:g}"])
    return written(rows, bom=False)  # Canvas takes a BOM for a part of the first column's name


def moodle(marks: Sequence[Mark], exercise: Exercise) -> str:
    """Moodle's grading worksheet, to be uploaded as it is."""
    header = ["Identifier", "Full name", "Email address", "Status", "Grade", "Maximum Grade"]
    header += ["Grade can be changed", "Feedback comments"]
    rows: list[Sequence[object]] = [header]
    for mark in marks:
        line = mark.handin.on
        number = line.moodle if line and line.moodle else _number(mark, "moodle")
        if number:
            name = line.known_as or line.name if line else mark.handin.name
            about = [f"Participant {number}", name, line.email if line else ""]
            graded = ["Graded", f"{mark.score:g}", f"{exercise.points:g}", "Yes"]
            rows.append([*about, *graded, comment(mark, exercise)])
    return written(rows, bom=False)


def comment(mark: Mark, exercise: Exercise) -> str:
    """The feedback in one line of text."""
    told = []
    for part in (*exercise.tasks, *exercise.by_hand):
        points = mark.points[part.name]
        got = "waits" if points is None else f"{points:g} of {part.points:g}"
        told.append(f"{part.title}: {got}")
    return "; ".join(told)


def similar(pairs: Sequence[Pair]) -> str:
    """similar.csv: pairs whose code shares what few others have; a reason to look, no proof."""
    header = ["first", "second", "rare runs in both", "share of the smaller one's"]
    return written([header, *([p.first, p.second, p.shared, round(p.share, 2)] for p in pairs)])


def _number(mark: Mark, platform: str) -> str:
    found = re.fullmatch(rf"{platform}:(\d+)", mark.handin.number)
    return found[1] if found else ""
