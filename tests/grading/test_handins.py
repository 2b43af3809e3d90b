"""Every layout in which work reaches an instructor; rosters; what is passed over is said."""

import io
import json
import os
import re
import zipfile
from pathlib import Path

import pytest

from minipeft.grading.handins import find_handins, read_roster
from minipeft.grading.notebook import Unreadable, read

from .handing_in import EXERCISE, SOLUTION

NAME = EXERCISE.notebook
TEXT = json.dumps(SOLUTION).encode()


def marked(mark: str) -> bytes:
    """A notebook of the exercise that can be told from others."""
    cells = [*SOLUTION["cells"], {"cell_type": "markdown", "metadata": {}, "source": mark}]
    return json.dumps({**SOLUTION, "cells": cells}).encode()


def put(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def found(root: Path, roster: str | None = None):
    if roster is not None:
        (root.parent / "roster.csv").write_text(roster, encoding="utf-8")
    known = read_roster(root.parent / "roster.csv") if roster is not None else None
    return find_handins(root, EXERCISE, known)


def students(root: Path, roster: str | None = None) -> list[str]:
    return [handin.student for handin in found(root, roster).handins]


MOODLE = "Ada Lovelace_1001_assignsubmission_file_"
CANVAS = "lovelaceada_51_9001_"
LAYOUTS = {
    "moodle folders": {f"{MOODLE}/{NAME}.ipynb": TEXT},
    "moodle folders, new": {f"{MOODLE[:-1]}/{NAME}.ipynb": TEXT},
    "moodle files": {f"{MOODLE}{NAME}.ipynb": TEXT},
    "moodle zips inside": {f"{MOODLE}/work.zip": zipped({f"work/{NAME}.ipynb": TEXT})},
    "moodle beside online text": {
        f"{MOODLE}/{NAME}.ipynb": TEXT,
        "Ada Lovelace_1001_assignsubmission_onlinetext_/onlinetext.html": b"<p>",
    },
    "canvas": {f"{CANVAS}{NAME}.ipynb": TEXT},
    "canvas, late": {f"lovelaceada_LATE_51_9001_{NAME}.ipynb": TEXT},
    "canvas zips": {f"{CANVAS}work.zip": zipped({f"{NAME}.ipynb": TEXT})},
    "nbgrader": {f"submitted/Ada Lovelace/{NAME}/{NAME}.ipynb": TEXT},
    "nbgrader from inside": {f"Ada Lovelace/{NAME}/{NAME}.ipynb": TEXT},
    "folders": {"Ada Lovelace/anything.ipynb": TEXT},
    "deep folders": {f"Ada Lovelace/exercises/week 3/{NAME}.ipynb": TEXT},
    "files": {"Ada Lovelace.ipynb": TEXT},
    "loud files": {"Ada Lovelace.IPYNB": TEXT},
    "files with the exercise's name": {f"{NAME}_Ada Lovelace.ipynb": TEXT},
    "copies": {"Ada Lovelace (1).ipynb": TEXT},
    "zips": {"Ada Lovelace.zip": zipped({f"{NAME}.ipynb": TEXT})},
    "loud zips": {"Ada Lovelace.ZIP": zipped({f"{NAME}.ipynb": TEXT})},
}
SECOND = {
    "moodle": {"Gil Hamilton_1002_assignsubmission_file_/x.ipynb": TEXT},
    "canvas": {f"hamiltongil_52_9002_{NAME}.ipynb": TEXT},
    "nbgrader": {f"submitted/Gil Hamilton/{NAME}/{NAME}.ipynb": TEXT},
    "nbgrader from inside": {f"Gil Hamilton/{NAME}/{NAME}.ipynb": TEXT},
}


@pytest.mark.parametrize("in_zip", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_read_as_it_comes(tmp_path, layout, in_zip):
    second = (
        SECOND.get(layout) or SECOND.get(re.split(r"\W", layout)[0]) or {"Gil Hamilton.ipynb": TEXT}
    )
    files = {**LAYOUTS[layout], **second}
    if in_zip:
        root = tmp_path / "download.zip"
        root.write_bytes(zipped({**files, "__MACOSX/._x.ipynb": b"", ".DS_Store": b""}))
    else:
        root = put(tmp_path / "in", {**files, ".ipynb_checkpoints/x.ipynb": TEXT})
    names = students(root)
    assert len(names) == 2
    assert set(names) in ({"Ada Lovelace", "Gil Hamilton"}, {"lovelaceada", "hamiltongil"})
    for handin in found(root).handins:
        assert read(handin.read()).own("merge")
    roster = 'student_id,name\ns1,Ada Lovelace\ns2,"Hamilton, Gil"\n'
    assert students(root, roster) == ["s1", "s2"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_class_of_one_is_a_class(tmp_path, layout):
    (handin,) = found(put(tmp_path / "in", LAYOUTS[layout])).handins
    assert handin.student in ("Ada Lovelace", "lovelaceada")
    assert read(handin.read()).own("merge")


def test_a_zip_of_a_download_within_a_folder(tmp_path):
    many = {**LAYOUTS["moodle folders"], **SECOND["moodle"]}
    root = put(tmp_path / "in", {"CS 101-Exercise 3-4711.zip": zipped(many), "notes.txt": b"mine"})
    assert students(root) == ["Ada Lovelace", "Gil Hamilton"]


def test_a_students_zip_with_a_canvas_name_inside_is_the_students(tmp_path):
    inside = zipped({f"{CANVAS}{NAME}.ipynb": TEXT})
    root = put(tmp_path / "in", {"gil.zip": inside, f"{CANVAS}{NAME}.ipynb": TEXT})
    assert students(root) == ["gil", "lovelaceada"]


def test_ids_with_numbers_are_not_taken_for_copies(tmp_path):
    root = put(tmp_path / "in", {f"student-{n}.ipynb": TEXT for n in (1, 2, 12)})
    assert students(root) == ["student-1", "student-12", "student-2"]


def test_files_that_all_have_the_exercises_name_are_many_students(tmp_path):
    files = {f"{NAME}.ipynb": TEXT, f"{NAME} (1).ipynb": TEXT, f"{NAME} (2).ipynb": TEXT}
    assert len(students(put(tmp_path / "in", files))) == 3


RESUBMITTED = {
    "canvas": {
        f"{CANVAS}{NAME}.ipynb": marked("old"),
        f"lovelaceada_51_9107_{NAME}-1.ipynb": marked("new"),
    },
    "canvas, counted": {
        f"{CANVAS}{NAME}-2.ipynb": marked("new"),
        f"{CANVAS}{NAME}-1.ipynb": marked("old"),
        f"{CANVAS}{NAME}.ipynb": marked("oldest"),
    },
    "files": {"ada.ipynb": marked("old"), "ada (1).ipynb": marked("new")},
    "ten copies": {
        "ada (9).ipynb": marked("old"),
        "ada (10).ipynb": marked("new"),
        "ada.ipynb": marked("oldest"),
    },
    "folder": {f"ada/{NAME}.ipynb": marked("old"), f"ada/{NAME} (1).ipynb": marked("new")},
    "another lesson's": {
        f"ada/{NAME}.ipynb": marked("new"),
        "ada/zz_other.ipynb": b'{"cells": []}',
    },
}


@pytest.mark.parametrize("name", RESUBMITTED)
def test_the_latest_counts_and_it_is_told(tmp_path, name):
    (handin,) = found(put(tmp_path / "in", RESUBMITTED[name])).handins
    assert b'"source": "new"' in handin.read()
    assert ("the latest counts" in handin.told) is (name != "another lesson's")


def test_time_decides_before_the_name_does(tmp_path):
    files = {"ada/b.ipynb": marked("old"), "ada/a.ipynb": marked("new"), "bob.ipynb": TEXT}
    root = put(tmp_path / "in", files)
    os.utime(root / "ada/b.ipynb", (1_000_000, 1_000_000))
    handin, _ = found(root).handins
    assert b'"source": "new"' in handin.read()


@pytest.mark.parametrize(
    ("files", "says", "skipped"),
    [
        ({"ada/report.pdf": b"%PDF"}, "no notebook in what was handed in (report.pdf)", True),
        ({"ada.zip": b"PK broken"}, "cannot be opened", True),
        ({f"{MOODLE}/report.docx": b"x"}, "(report.docx)", True),
        ({f"ada/{NAME}.ipynb": b""}, "the file is empty", False),
        ({"ada.zip": zipped({"x/": b""})}, "nothing was handed in", False),
    ],
)
def test_what_is_no_notebook_says_what_it_is(tmp_path, files, says, skipped):
    (handin,) = [h for h in found(put(tmp_path / "in", files)).handins if "bob" not in h.student]
    with pytest.raises(Unreadable) as caught:
        handin.read()
    assert says in str(caught.value)
    assert handin.skipped is skipped


def test_a_stray_file_is_named(tmp_path):
    root = put(tmp_path / "in", {"ada.ipynb": TEXT, "bob.py": b"x", "grades.csv": b"x"})
    assert found(root).skipped == ["bob.py"]


def test_a_locked_and_a_lying_zip_cost_their_own_student(tmp_path):
    locked = bytearray(zipped({"x.ipynb": TEXT}))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(signature) + place] |= 1
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.ipynb", b"0" * (300 << 20))
    files = {
        "locked.zip": bytes(locked),
        "bomb.zip": bomb.getvalue(),
        "up.zip": zipped({"../../x.ipynb": TEXT}),
    }
    by_name = {h.student: h for h in found(put(tmp_path / "in", files)).handins}
    for name, says in (("locked", "password"), ("bomb", "larger than")):
        with pytest.raises(Unreadable, match=says):
            by_name[name].read()
    assert by_name["up"].read() == TEXT
    assert not (tmp_path.parent / "x.ipynb").exists()


def test_a_roster_finds_everyone_and_names_who_is_missing(tmp_path):
    files = {
        f"{MOODLE}/{NAME}.ipynb": TEXT,
        f"unalzoe_52_9002_{NAME}.ipynb": TEXT,
        "b.babbage.ipynb": TEXT,
        "stranger.ipynb": TEXT,
    }
    roster = (
        "Student ID;Full name;E-mail address;Canvas ID;Moodle ID\n"
        "s1;Augusta King;ada@x.org;;1001\n"
        "s2;Zoë Ünal;zoe@x.org;;\n"
        "s3;Charles Babbage;b.babbage@x.org;;\n"
        "s4;Grace Hopper;g@x.org;;\n"
    ).replace("E-mail", "Email")
    class_ = found(put(tmp_path / "in", files), roster)
    by_name = {handin.student: handin for handin in class_.handins}
    assert set(by_name) == {"s1", "s2", "s3", "s4", "stranger"}
    assert by_name["stranger"].on is None
    assert by_name["s1"].name == "Augusta King"
    with pytest.raises(Unreadable, match="nothing was handed in"):
        by_name["s4"].read()


def test_two_of_one_name_stay_two(tmp_path):
    files = {f"Kim Lee_{n}_assignsubmission_file_/x.ipynb": TEXT for n in (7, 8)}
    assert students(put(tmp_path / "in", files)) == ["Kim Lee (7)", "Kim Lee (8)"]
    roster = "student_id,name\ns1,Kim Lee\ns2,Kim Lee\n"
    assert "Kim Lee (7)" in students(tmp_path / "in", roster)


CANVAS_BOOK = (
    "Student,ID,SIS User ID,SIS Login ID,Section,Exercise 03 (7)\n"
    "    Points Possible,,,,,20\n"
    '"Lovelace, Ada",51,s51,ada,A,\n'
    '"Student, Test",99,,test,A,\n'
)
MOODLE_SHEET = (
    "\ufeffIdentifier,Full name,Email address,Status,Grade,Last modified (submission)\n"
    'Participant 1001,Ada Lovelace,ada@x.org,Submitted,,"Friday, 27 November 2026, 11:58 PM"\n'
)


def test_the_platforms_own_files_are_rosters(tmp_path):
    root = put(tmp_path / "in", LAYOUTS["canvas"])
    (handin,) = found(root, CANVAS_BOOK).handins
    assert (handin.student, handin.on.canvas, handin.on.login) == ("s51", "51", "ada")
    assert handin.on.known_as == "Lovelace, Ada"
    root = put(tmp_path / "in2", LAYOUTS["moodle files"])
    (handin,) = found(root, MOODLE_SHEET).handins
    assert (handin.student, handin.on.moodle) == ("ada@x.org", "1001")
    assert handin.timestamp == "2026-11-27 23:58:00"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("nmae,grade\nx,1\n", "no column student_id"),
        ("student_id,name\ns1,a\nS1 ,b\n", "more than one student with id 's1'"),
    ],
)
def test_a_roster_that_cannot_be_meant_says_why(tmp_path, text, says):
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_roster(tmp_path / "r.csv")


@pytest.mark.parametrize("files", [{}, {"readme.txt": b"x"}, {"x.zip/": b""}])
def test_nothing_at_all_is_refused(tmp_path, files):
    (tmp_path / "in").mkdir()
    put(tmp_path / "in", {name: data for name, data in files.items() if not name.endswith("/")})
    with pytest.raises(ValueError, match="holds no submissions"):
        found(tmp_path / "in")


def test_the_time_that_nbgrader_and_a_platforms_zip_note(tmp_path):
    stamp = {f"Ada Lovelace/{NAME}/timestamp.txt": b"2026-02-03 15:58:23.948203 UTC"}
    (handin,) = found(put(tmp_path / "in", {**LAYOUTS["nbgrader from inside"], **stamp})).handins
    assert handin.timestamp.startswith("2026-02-03 15:58:23")
    assert handin.assignment == NAME
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        info = zipfile.ZipInfo(f"{MOODLE}/{NAME}.ipynb", (2026, 11, 27, 23, 58, 0))
        archive.writestr(info, TEXT)
    (handin,) = found(tmp_path / "m.zip").handins
    assert handin.timestamp == "2026-11-27 23:58:00"
