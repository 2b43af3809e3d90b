"""The hand-in of each student: the notebook that counts, or why there is none."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from ..notebook import Unreadable, grade_ids
from ..tasks import Exercise
from .files import EMPTY, all_files
from .layouts import OwnedFile, Sorter, Who
from .roster import Roster, Student

MINUTE = 60.0


@dataclass(frozen=True)
class HandIn:
    """One student's notebook; where there is none, `read` raises Unreadable with the reason."""

    student: str
    assignment: str
    read: Callable[[], bytes]
    name: str = ""
    ids: tuple[str, ...] = ()  # other names of the student
    timestamp: str = ""  # when it was handed in, "" where that is not known
    late: bool = False  # the platform says so
    number: str = ""  # the platform's number of the student: "canvas:51", "moodle:1001"
    told: str = ""  # what a person should know of how it was found
    skipped: bool = False  # something was handed in, and it was not looked at
    on: Student | None = None  # the student's line of the roster


@dataclass(frozen=True)
class Class:
    """All that was handed in, and what was passed over."""

    handins: list[HandIn]
    skipped: list[str] = field(default_factory=list)


def find_handins(root: Path, exercise: Exercise, roster: Roster | None = None) -> Class:
    """All that was handed in for one exercise, in the order of the students' names.

    Raises ValueError where there is nothing that could be a hand-in.
    """
    if (root / "submitted").is_dir():
        root = root / "submitted"
    files = all_files(root)
    owned, skipped = Sorter(exercise).sort(files)
    if not owned:
        what = f"; skipped: {', '.join(skipped[:5])}" if skipped else ""
        raise ValueError(
            f"{str(root)!r} holds no submissions: neither a download of Moodle or Canvas, nor "
            f"STUDENT/ASSIGNMENT/{exercise.notebook}.ipynb, nor STUDENT.ipynb{what}"
        )
    found = [_hand_in(who, files, exercise, roster) for who, files in owned.items()]
    found = _apart(_merged(found))
    if roster is not None:
        here = {handin.student for handin in found}
        found += [_nobody(s, exercise) for s in roster.students if s.id not in here]
    return Class(sorted(found, key=lambda handin: handin.student), skipped)


def _hand_in(who: Who, files: list[OwnedFile], exercise: Exercise, roster: Roster | None) -> HandIn:
    student = roster.find((who.name, who.number), who.name) if roster else None
    notebooks = [f for f in files if f.is_notebook]
    others = [f for f in files if not f.is_notebook and f.rest[-1:] != ("timestamp.txt",)]
    blank = HandIn(
        student=student.id if student else who.name,
        assignment=exercise.notebook,
        read=_raising("nothing was handed in"),
        name=student.name if student else who.name,
        ids=tuple(dict.fromkeys((*who.ids, *(student.ids if student else ())))),
        number=who.number,
        on=student,
        late=any(file.late for file in files),
        timestamp=_when(student.modified) if student else "",
    )
    if not notebooks:
        return _without_notebook(blank, others)
    chosen, told = _chosen(notebooks, exercise)
    beside = (*chosen.rest[:-1], "timestamp.txt")
    stamp = next((file for file in files if file.rest == beside), None)
    # a zip of a platform notes when a file was handed in; a student's own zip, when it was saved
    noted = chosen.found.stamp if who.number and len(chosen.rest) == 1 else ""
    return replace(
        blank,
        read=chosen.found.read,
        assignment=chosen.rest[0] if len(chosen.rest) == 2 and stamp else blank.assignment,
        timestamp=_noted(stamp) or blank.timestamp or noted,
        late=chosen.late,
        told=told,
    )


def _without_notebook(blank: HandIn, others: list[OwnedFile]) -> HandIn:
    """The hand-in in which there is no notebook: what there is instead is said."""
    links = [f for f in others if "link" in f.found.trouble]
    real = [f for f in others if f.found.trouble != EMPTY and f not in links]
    if real:
        shown = ", ".join(f"{f.rest[-1]} {f.found.trouble}".strip() for f in real[:5])
        why = f"there is no notebook in what was handed in ({shown})"
        return replace(blank, read=_raising(why), told=why, skipped=True)
    if links:
        return replace(blank, read=_raising(f"nothing was handed in but {links[0].found.trouble}"))
    return blank


def _chosen(notebooks: list[OwnedFile], exercise: Exercise) -> tuple[OwnedFile, str]:
    """The notebook that counts, and a sentence where there was a choice."""
    if len(notebooks) == 1:
        return notebooks[0], ""
    wanted = {task.name for task in (*exercise.tasks, *exercise.by_hand)}
    fitting = [file for file in notebooks if wanted & _ids(file)] or notebooks
    if len(fitting) == 1:
        return fitting[0], ""
    latest = fitting[0]
    for file in fitting[1:]:
        latest = file if _is_later(file, latest, exercise) else latest
    names = ", ".join("/".join(file.rest) for file in fitting)
    told = f"{len(fitting)} notebooks were handed in ({names}); the latest counts"
    return latest, f"{told}: {'/'.join(latest.rest)}"


def _ids(file: OwnedFile) -> set[str]:
    try:
        return grade_ids(file.found.read())
    except Unreadable:
        return set()


def _is_later(file: OwnedFile, other: OwnedFile, exercise: Exercise) -> bool:
    """By the platform's count, by time where that says something, by the copy's number, by name."""
    if file.order != other.order:
        return file.order > other.order
    if abs(file.found.changed - other.found.changed) > MINUTE:
        return file.found.changed > other.found.changed

    def rank(one: OwnedFile) -> tuple:
        stem = PurePosixPath(one.rest[-1]).stem.casefold()
        return one.copy, stem.startswith(exercise.notebook.casefold()), one.found.changed, one.rest

    return rank(file) > rank(other)


def _noted(stamp: OwnedFile | None) -> str:
    """When it was handed in, as nbgrader noted it; "" where it did not, or where it is no time."""
    try:
        return _when(stamp.found.read()[:200].decode()) if stamp else ""
    except (Unreadable, ValueError):
        return ""


def _when(text: str) -> str:
    text = text.strip().removesuffix(" UTC")
    for read in (datetime.fromisoformat, *(lambda t, f=f: datetime.strptime(t, f) for f in TIMES)):
        try:
            return str(read(text))
        except ValueError:
            continue
    return ""


# Moodle's, in English, and the usual ones of spreadsheets
TIMES = ("%A, %d %B %Y, %I:%M %p", "%A, %d %B %Y, %H:%M", "%d/%m/%Y %H:%M", "%d.%m.%Y %H:%M")


def _merged(found: list[HandIn]) -> list[HandIn]:
    """One hand-in for each student of the roster, where several of a platform's names meant one."""
    by_student: dict[str, HandIn] = {}
    rest = []
    for handin in found:
        if handin.on is None:
            rest.append(handin)
            continue
        other = by_student.get(handin.student)
        if other is None:
            by_student[handin.student] = handin
            continue
        first, last = sorted((other, handin), key=lambda h: (h.timestamp, h.number))
        told = f"handed in as {first.ids[0]!r} and as {last.ids[0]!r}; the latter counts"
        by_student[handin.student] = replace(last, told=told)
    return [*rest, *by_student.values()]


def _apart(found: list[HandIn]) -> list[HandIn]:
    """Names of their own for two people with the same name."""
    names = [handin.student for handin in found]
    return [
        replace(h, student=f"{h.student} ({h.number.partition(':')[2]})")
        if names.count(h.student) > 1 and h.number
        else h
        for h in found
    ]


def _nobody(student: Student, exercise: Exercise) -> HandIn:
    """A student of the roster from whom there is nothing."""
    read = _raising("nothing was handed in")
    return HandIn(student.id, exercise.notebook, read, student.name, student.ids, on=student)


def _raising(why: str) -> Callable[[], bytes]:
    def read() -> bytes:
        raise Unreadable(why)

    return read
