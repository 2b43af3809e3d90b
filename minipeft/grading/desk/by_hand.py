"""by_hand.csv: where a person enters points, overrides and late days; read at the next run.

One line for each student and part of the exercise. An empty `points` leaves what the grader found;
a number in it counts instead. The line "late days" takes the days that a student was late.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import nearest
from ..handins.roster import csv_rows
from ..tasks import Exercise
from .folder import Refused
from .spreadsheet import plain, safe_row

COLUMNS = ("student_id", "name", "task", "points", "of", "found", "comment", "title", "answer")
LATE = "late days"
MOST_DAYS = 366


@dataclass(frozen=True)
class Entry:
    """What a person entered for one part of one student's work."""

    points: float | None = None
    comment: str = ""


Entries = dict[tuple[str, str], Entry]  # (student, task) -> what was entered


def limits_of(exercise: Exercise) -> dict[str, float]:
    """The parts of an exercise for which points can be entered, with the most that each earns."""
    parts = {part.name: part.points for part in (*exercise.tasks, *exercise.by_hand)}
    return {**parts, LATE: MOST_DAYS}


def read(path: Path, exercise: Exercise) -> Entries:
    """What was entered. Raises Refused, naming line and value, for what cannot be meant."""
    try:
        rows = list(csv_rows(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Refused(f"{path.name} could not be read ({error.strerror})") from error
    header = [title.strip().casefold() for title in rows[0]] if rows else []
    lost = {"student_id", "task", "points"} - set(header)
    if lost:
        raise Refused(f"{path.name} has lost its column {sorted(lost)[0]!r}; it has {header}")
    most = limits_of(exercise)
    entries: Entries = {}
    for line, row in enumerate(rows[1:], start=2):
        cells = dict(zip(header, map(plain, row), strict=False))
        if not any(cell.strip() for cell in cells.values()):
            continue
        where = f"{path.name}, line {line}"
        task, student = cells.get("task", "").strip(), cells["student_id"]
        if task not in most:
            raise Refused(f"{where}: there is no task {task!r}; {nearest(task, most)}")
        entry = Entry(_points(cells.get("points", ""), most[task], where), cells.get("comment", ""))
        if (student, task) in entries and entry != Entry():
            raise Refused(f"{where}: {student!r} has a second line for {task!r}")
        entries.setdefault((student, task), entry)
    return {place: entry for place, entry in entries.items() if entry != Entry()}


def _points(text: str, most: float, where: str) -> float | None:
    text = text.strip().replace(",", ".")
    if not text:
        return None
    try:
        points = float(text)
    except ValueError:
        points = math.nan
    if not 0 <= points <= most:
        raise Refused(f"{where}: points are {text!r}; they can be 0 to {most:g}, or empty")
    return points


def table(
    students: Sequence[tuple[str, str]],
    found: Mapping[str, Mapping[str, str]],
    answers: Mapping[str, Mapping[str, str]],
    entries: Entries,
    exercise: Exercise,
) -> str:
    """The text of by_hand.csv: a line for each part, what waits for a person first.

    Entries of students who are not there are kept at its end.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    parts = [*exercise.by_hand, *exercise.tasks]
    lines = [(part.name, part.title, f"{part.points:g}") for part in parts]
    lines.append((LATE, "days late, counted from the due date", ""))
    for student, name in students:
        for task, title, of in lines:
            entry = entries.get((student, task), Entry())
            written = [student, name, task, shown(entry.points), of, found[student].get(task, "")]
            written += [entry.comment, title, answers[student].get(task, "")[:30_000]]
            writer.writerow(safe_row(written))
    here = {student for student, _ in students}
    for (student, task), entry in sorted(entries.items()):
        if student not in here:
            row = [student, "", task, shown(entry.points), "", "", entry.comment, "", ""]
            writer.writerow(safe_row(row))
    return text.getvalue()


def shown(points: float | None) -> str:
    """Points as they are written into a cell."""
    return "" if points is None else f"{points:g}"
