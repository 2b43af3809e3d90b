"""A class of 39 gets 39 fair marks; graded again, the same bytes; every page is written."""

import csv
import json

import pytest

from minipeft.__main__ import main

from .class_of_39 import AUTOMATIC, CLASS
from .handing_in import needs_sandbox

pytestmark = [pytest.mark.sandbox, needs_sandbox, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    (folder / "in").mkdir()
    for student, handed_in in CLASS.items():
        text = json.dumps(handed_in.notebook(student))
        (folder / "in" / f"{student}.ipynb").write_text(text)
    command = ["grade", str(folder / "in"), "--out", str(folder / "out"), "--seed", "20270101"]
    assert main(command) == 0
    with (folder / "out" / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    return rows, folder / "out", command


def page(graded, student):
    return (graded[1] / "feedback" / f"{student}.html").read_text(encoding="utf-8")


def test_there_are_39_of_many_kinds():
    assert len(CLASS) == 39
    assert sum(handed_in.fair == AUTOMATIC for handed_in in CLASS.values()) > 20


@pytest.mark.parametrize("student", CLASS)
def test_the_mark_is_fair(graded, student):
    assert float(graded[0][student]["score"]) == pytest.approx(CLASS[student].fair, abs=0.01), page(
        graded, student
    )
    assert CLASS[student].says in page(graded, student)


def test_graded_again_every_file_is_the_same(graded):
    before = {p: p.read_bytes() for p in sorted(graded[1].rglob("*")) if p.is_file()}
    for path in (graded[1] / "results").glob("*.json"):
        if path.stem in ("as-the-solution", "unwritten", "experiment-exits", "optimizer"):
            path.unlink()  # these are graded once more, the others' results are taken
    assert main(graded[2]) == 0
    assert {p: p.read_bytes() for p in sorted(graded[1].rglob("*")) if p.is_file()} == before
