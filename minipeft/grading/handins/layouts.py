"""Who handed in what: the layouts that learning platforms, nbgrader and people use.

    Moodle      NAME_NUMBER_assignsubmission_file_/FILE, or the same as one file name
    Canvas      name_USER_SUBMISSION_FILE, with _LATE_ after the name where it was late
    nbgrader    STUDENT/ASSIGNMENT/NOTEBOOK.ipynb with timestamp.txt, here or below submitted/
    folders     STUDENT/..., or STUDENT.zip
    files       STUDENT.ipynb

each in a folder, a zip, or zips in a folder. Of several notebooks the latest counts, as is told.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..tasks import Exercise
from .files import Found

MOODLE = re.compile(
    r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?:file|onlinetext)(?:_(?P<file>.*))?"
)
CANVAS = re.compile(
    r"(?P<name>[^_/]+)_(?P<late>LATE_)?(?P<number>\d+)_(?P<submission>\d+)_(?P<file>.+)"
)
BULK = re.compile(r"submissions|.+-.+-\d{2,}", re.IGNORECASE)  # the platforms' own zips
COPY = re.compile(r"[ _]*(?:\((\d{1,3})\)|[-_ ]copy *(\d*))$", re.IGNORECASE)  # as browsers write
VERSION = re.compile(r"-(\d{1,2})$")  # as Canvas writes it behind a name that came before
NO_HANDIN = {".csv", ".txt", ".md", ".log", ".html", ".json", ".xlsx"}


@dataclass(frozen=True)
class Who:
    """A student as a layout names them."""

    name: str
    number: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.name, self.number, self.number.partition(":")[2])))


@dataclass(frozen=True)
class OwnedFile:
    """A file that belongs to a student, with what its layout says about it."""

    found: Found
    rest: tuple[str, ...]  # where it lies within what the student handed in
    order: int = 0  # the platform's number of the submission
    late: bool = False

    @property
    def is_notebook(self) -> bool:
        return bool(self.rest) and PurePosixPath(self.rest[-1]).suffix.casefold() == ".ipynb"

    @property
    def copy(self) -> int:
        stem = PurePosixPath(self.rest[-1]).stem
        found = COPY.search(stem) or VERSION.search(stem)
        return int(next((number for number in found.groups() if number), 1)) if found else 0


Owned = dict[Who, list[OwnedFile]]


class Sorter:
    """Sorts files by the students that they belong to."""

    def __init__(self, exercise: Exercise) -> None:
        self.exercise = exercise
        self.owned: Owned = defaultdict(list)
        self.skipped: list[str] = []

    def sort(self, files: Iterable[Found]) -> tuple[Owned, list[str]]:
        self._level([(file, file.parts) for file in files if file.parts != ("",)])
        return self.owned, self.skipped

    def _level(self, files: Sequence[tuple[Found, tuple[str, ...]]]) -> None:
        """Sort what lies in one folder; `parts` are the names that are left below it."""
        groups = defaultdict(list)
        for found, parts in files:
            groups[parts[0]].append((found, parts))
        for name, group in groups.items():
            if self._by_platform(name, group):
                continue
            if len(group[0][1]) == 1:
                self._by_file_name(group[0][0], name)
            elif self._holds_a_class(name, group, alone=len(groups) == 1):
                self._level([(found, parts[1:]) for found, parts in group])
            else:
                who = Who(PurePosixPath(name).stem if name.casefold().endswith(".zip") else name)
                self.owned[who] += [OwnedFile(found, parts[1:]) for found, parts in group]

    def _by_platform(self, name: str, group: list) -> bool:
        """Whether a platform wrote this name; then all below it is one student's."""
        is_leaf = len(group[0][1]) == 1
        if match := MOODLE.fullmatch(name):
            who = Who(match["name"], f"moodle:{match['number']}")
            for found, parts in group:
                rest = parts[1:] or (match["file"] or name,)
                self.owned[who].append(OwnedFile(found, rest))
            return True
        if (match := CANVAS.fullmatch(name)) and (is_leaf or name.casefold().endswith(".zip")):
            who = Who(match["name"], f"canvas:{match['number']}")
            for found, parts in group:
                rest = parts[1:] or (match["file"],)
                order, late = int(match["submission"]), bool(match["late"])
                self.owned[who].append(OwnedFile(found, rest, order, late))
            return True
        return False

    def _by_file_name(self, found: Found, name: str) -> None:
        """A file that lies flat: its name is the student's, without the exercise's."""
        path = PurePosixPath(name)
        if path.suffix.casefold() != ".ipynb":
            if found.trouble and not path.suffix:  # a folder that is a link
                self.owned[Who(name)].append(OwnedFile(found, (name,)))
            elif path.suffix.casefold() == ".zip":  # one that cannot be opened
                self.owned[Who(path.stem)].append(OwnedFile(found, (name,)))
            elif path.suffix.casefold() not in NO_HANDIN:
                self.skipped.append(found.shown)
            return
        bare = COPY.sub("", path.stem)
        own = re.sub(re.escape(self.exercise.notebook), "", bare, flags=re.IGNORECASE)
        own = own.strip(" _-") if own != bare else bare
        self.owned[Who(own or path.stem)].append(OwnedFile(found, (name,)))

    def _holds_a_class(self, name: str, group: list, alone: bool) -> bool:
        """Whether a folder or zip is not one student's, but holds many."""
        if alone and name == "submitted":
            return True
        inside = {part for _, parts in group for part in parts[1:]}
        matches = (MOODLE.fullmatch(part) or CANVAS.fullmatch(part) for part in inside)
        people = {match["number"] for match in matches if match}
        if len(people) > 1 or (people and (alone or BULK.fullmatch(PurePosixPath(name).stem))):
            return True
        notebooks = [parts[1:] for _, parts in group if _is_notebook(parts[-1])]
        if not alone or any(self.exercise.notebook == PurePosixPath(n[-1]).stem for n in notebooks):
            # nbgrader's folder of the only student; or, if many are below it, a class's
            return alone and len({n[0] for n in notebooks if len(n) > 2}) > 1
        return len({COPY.sub("", PurePosixPath(n[0]).stem) for n in notebooks}) > 1


def _is_notebook(name: str) -> bool:
    return PurePosixPath(name).suffix.casefold() == ".ipynb"
