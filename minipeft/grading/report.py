"""Writes what an instructor and a student get: grades.csv, and one page of feedback each.

All that comes from a student (names, exceptions, values) is escaped; the pages run no script and
load nothing.
"""

import csv
import hashlib
import html
import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ..core.disk import atomic_write
from .results import Grade
from .tasks import Exercise

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

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{assignment}: {student}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem;
  margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; vertical-align: top; padding: .5rem; border-bottom: 1px solid #bbb }}
td:nth-child(2) {{ white-space: nowrap }}
.right {{ color: #00603a }} .wrong {{ color: #9a1d1d }} .waits {{ color: #444 }}
.note {{ border-left: 4px solid #9a1d1d; padding: .25rem 1rem; background: #fdf3f3 }}
</style>
</head>
<body>
<h1>{assignment}</h1>
<p>{student}: <strong>{score:g} of {automatic:g} points</strong> so far{waiting}.</p>
{note}<table>
<tr><th>Task</th><th>Points</th><th>Feedback</th></tr>
{rows}
</table>
</body>
</html>
"""
ROW = '<tr class="{kind}"><td>{title}</td><td>{got} of {points:g}</td><td>{message}</td></tr>'


def write(grades: Sequence[Grade], exercise: Exercise, out: Path) -> None:
    """Write OUT/grades.csv and OUT/feedback/STUDENT.html."""
    for name, grade in zip(file_names([g.submission.student for g in grades]), grades, strict=True):
        atomic_write(out / "feedback" / name, _bytes(page(grade, exercise)))
    atomic_write(out / "grades.csv", _bytes(table(grades, exercise)))


def table(grades: Sequence[Grade], exercise: Exercise) -> str:
    """The text of grades.csv. What waits for a person counts in max_score alone, as in nbgrader."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for grade in grades:
        known = {
            "assignment": grade.submission.assignment,
            "timestamp": grade.submission.timestamp,
            "student_id": grade.submission.student,
            "raw_score": float(grade.score),
            "late_submission_penalty": 0.0,
            "score": float(grade.score),
            "max_score": float(exercise.points),
        }
        writer.writerow([known.get(column, "") for column in COLUMNS])
    return text.getvalue()


def page(grade: Grade, exercise: Exercise) -> str:
    """One student's feedback, a page that stands alone."""
    rows = [
        ROW.format(
            kind="right" if verdict.right else "wrong",
            title=_safe(task.title),
            got=f"{task.points if verdict.right else 0:g}",
            points=task.points,
            message=("Right. " if verdict.right else "") + _safe(verdict.message),
        )
        for task, verdict in zip(exercise.tasks, grade.verdicts, strict=True)
    ]
    rows += [
        ROW.format(
            kind="waits",
            title=_safe(part.title),
            got="-",
            points=part.points,
            message="Waits for a person.",
        )
        for part in exercise.by_hand
    ]
    by_hand = sum(part.points for part in exercise.by_hand)
    return PAGE.format(
        assignment=_safe(grade.submission.assignment),
        student=_safe(grade.submission.student),
        score=grade.score,
        automatic=exercise.points - by_hand,
        waiting=f"; {by_hand:g} more wait for a person" if by_hand else "",
        note=f'<p class="note">{_safe(grade.note)}</p>\n' if grade.note else "",
        rows="\n".join(rows),
    )


def file_names(students: Sequence[str]) -> list[str]:
    """A file name for each student, safe on every system, and no two the same."""
    names, taken = [], set()
    for student in students:
        kept = (c if c.isascii() and (c.isalnum() or c in "-_.@") else "_" for c in student)
        name = "".join(kept)[:80]
        digest = hashlib.sha256(student.encode(errors="surrogateescape")).hexdigest()[:8]
        if name != student or name[:1] in ("", ".") or name.casefold() in taken:
            name = f"{name.lstrip('.')}-{digest}"
        taken.add(name.casefold())
        names.append(f"{name}.html")
    return names


def shown(text: str) -> str:
    """A student's text on one line, without the characters that change how a line is shown."""
    safe = (" " if unicodedata.category(c)[0] == "C" else c for c in text)
    return "".join(safe)


def _safe(text: str) -> str:
    return html.escape(shown(text))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")
