"""Who is in the class: a CSV of one's own, Canvas's gradebook or Moodle's grading worksheet.

It maps the names that platforms write onto files to the ids that students wrote into their
notebooks, and it is what the import files are made from.
"""

import csv
import io
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import nearest
from ..tasks import same

# our word: the headings that mean it, in small letters and digits only; the first found counts
HEADINGS = {
    "id": ("studentid", "sisuserid", "idnumber", "matriculationnumber", "sisloginid", "username",
           "login", "user"),
    "login": ("sisloginid", "username", "login", "user"),
    "name": ("name", "fullname", "studentname", "student"),
    "first": ("firstname", "givenname"),
    "last": ("lastname", "surname", "familyname"),
    "email": ("email", "emailaddress", "mail"),
    "canvas": ("canvasid", "canvasuserid"),
    "moodle": ("moodleid", "identifier", "participant"),
    "section": ("section",),
    "modified": ("lastmodifiedsubmission", "submitted", "timestamp"),
}  # fmt: skip
NOT_STUDENTS = ("points possible", "student, test", "test student")


@dataclass(frozen=True)
class Student:
    """One line of the roster."""

    id: str
    name: str = ""
    email: str = ""
    login: str = ""
    canvas: str = ""
    moodle: str = ""
    section: str = ""
    modified: str = ""
    known_as: str = ""  # the name as the platform's own file has it, for the import
    ids: tuple[str, ...] = field(default=(), repr=False)  # all that names this student alone


class Roster:
    """The students of a class, found by any of their ids or by name."""

    def __init__(self, students: Iterable[Student]) -> None:
        self.students = list(students)
        self._by_id: dict[str, set[int]] = defaultdict(set)
        self._by_name: dict[str, set[int]] = defaultdict(set)
        for place, student in enumerate(self.students):
            for name in student.ids:
                self._by_id[same(name)].add(place)
            for key in name_keys(student.name):
                self._by_name[key].add(place)

    def find(self, ids: Iterable[str], name: str = "") -> Student | None:
        """The one student with one of these ids, or else with this name; None for none or many."""
        for found in (
            {place for one in ids if one for place in self._by_id.get(same(one), ())},
            {place for key in name_keys(name) for place in self._by_name.get(key, ())},
        ):
            if len(found) == 1:
                return self.students[found.pop()]
        return None


def name_keys(name: str) -> set[str]:
    """What two spellings of a name have in common: accents, order, commas and spaces go."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).casefold()
    last, comma, first = plain.partition(",")
    words = re.findall(r"\w+", f"{first} {last}" if comma else plain)
    if not words:
        return set()
    # Canvas writes "Lovelace, Ada" as lovelaceada; which word is the last name is not known
    turned = ["".join(words[n:] + words[:n]) for n in range(len(words))]
    return {" ".join(sorted(words)), *turned}


def read_roster(path: Path) -> Roster:
    """The roster in a CSV file. Raises ValueError, naming the file and what is wrong with it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"the roster {str(path)!r} could not be read ({error.strerror})"
        ) from error
    rows = list(csv_rows(data))
    if not rows:
        raise ValueError(f"the roster {str(path)!r} is empty")
    columns = _columns(rows[0], path)
    students = [_student(row, columns) for row in rows[1:] if any(cell.strip() for cell in row)]
    students = [student for student in students if student is not None]
    twice = [name for name, n in Counter(same(student.id) for student in students).items() if n > 1]
    if twice:
        raise ValueError(f"the roster {str(path)!r} has more than one student with id {twice[0]!r}")
    return Roster(students)


def csv_rows(data: bytes) -> Iterable[list[str]]:
    """The rows of a CSV file as spreadsheets write it: any usual encoding and separator."""
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator)


def _columns(header: list[str], path: Path) -> dict[str, int]:
    """Our word for a column -> its place."""
    places = {re.sub(r"\W|_", "", title.casefold()): n for n, title in enumerate(header)}
    columns = {}
    for word, titles in HEADINGS.items():
        place = next((places[title] for title in titles if title in places), None)
        if place is not None:
            columns[word] = place
    if "id" in places:  # Canvas's own number where Canvas wrote the file, else the student's id
        columns["canvas" if "sisloginid" in places or "section" in places else "id"] = places["id"]
    if not columns.keys() & {"id", "email", "canvas", "moodle"}:
        wanted = ["student_id", "name", "email", "canvas_id", "moodle_id"]
        told = "; ".join(f"{title!r}: {nearest(title, wanted)}" for title in header[:3])
        raise ValueError(f"the roster {str(path)!r} has no column student_id ({told})")
    return columns


def _student(row: list[str], columns: dict[str, int]) -> Student | None:
    cells = {w: row[place].strip() for w, place in columns.items() if place < len(row)}
    known_as = cells.get("name", "")
    if known_as.casefold().startswith(NOT_STUDENTS):
        return None
    name = known_as or f"{cells.get('first', '')} {cells.get('last', '')}".strip()
    last, comma, first = name.partition(",")
    name = f"{first.strip()} {last.strip()}" if comma else name
    email, moodle = cells.get("email", ""), cells.get("moodle", "")
    number = re.sub(r"\D", "", moodle)
    canvas, login = cells.get("canvas", ""), cells.get("login", "")
    ids = [cells.get("id", ""), login, email, email.partition("@")[0]]
    ids += [canvas, moodle, number and f"moodle:{number}", canvas and f"canvas:{canvas}"]
    ids = [one for one in ids if one]
    if not ids:
        return None
    return Student(
        id=ids[0],
        name=name,
        email=email,
        login=login,
        canvas=canvas,
        moodle=number,
        section=cells.get("section", ""),
        modified=cells.get("modified", ""),
        known_as=known_as,
        ids=tuple(dict.fromkeys(ids)),
    )
