"""The real exercise, graded through the command line: right, half right, patched, hanging."""

import csv
import sys
from datetime import datetime

import nbgrader.plugins
import pytest

from minipeft.__main__ import main
from minipeft.grading import grade, sandbox
from minipeft.grading.desk.folder import file_names
from minipeft.grading.desk.tables import COLUMNS
from minipeft.grading.sandboxed import protocol

from .handing_in import EXERCISE, SMALL, hand_in, needs_sandbox, notebook, small_notebook
from .hostile import PATCHES, RIGHT, WRONG

in_sandbox = [pytest.mark.sandbox, needs_sandbox]
MISTAKES = {
    "merge": "def merge(weight, A, B, alpha):\n    return weight + B @ A",
    "lora_start": "def lora_start(d_in, d_out, r):\n"
    "    return torch.randn(r, d_in), torch.zeros(d_out, r)",
    "find_targets": "def find_targets(names, targets):\n"
    "    found = [n for n in names if any(t in n for t in targets)]\n"
    "    if not found:\n        raise ValueError(targets)\n    return found",
    "diagnose": "def diagnose(record):\n    return 'healthy'",
    "train_lora": "def train_lora(*_):\n    while True: pass",
}
NAMED = ["dropped at the merge", "randn without a scale", "anywhere in the name", "every specimen"]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    hand_in(folder / "submitted", "ada", notebook("ada"))
    timestamp = folder / "submitted" / "ada" / EXERCISE.notebook / "timestamp.txt"
    timestamp.write_text("2026-02-03 15:58:23.948203 UTC")
    hand_in(folder / "submitted", "half", notebook("half", MISTAKES))
    hand_in(folder / "submitted", "patched", notebook("patched", {"lora_forward": WRONG + PATCHES}))
    hand_in(folder / "submitted", "copied", notebook("ada"))
    out = folder / "out" / "new"
    assert main(["grade", str(folder / "submitted"), "--out", str(out), "--seed", "1"]) == 0
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    return rows, lambda student: (out / "feedback" / f"{student}.html").read_text(encoding="utf-8")


@pytest.mark.sandbox
@needs_sandbox
@pytest.mark.timeout(300)
class TestOnTheRealExercise:
    def test_the_solution_gets_every_point_but_those_by_hand(self, graded):
        row = graded[0]["ada"]
        assert (row["raw_score"], row["score"], row["max_score"]) == ("18.0", "18.0", "20.0")
        assert row["assignment"] == EXERCISE.notebook
        assert "Waits for a person" in graded[1]("ada")
        assert datetime.fromisoformat(row["timestamp"]).year == 2026

    def test_half_right_gets_the_other_half_and_the_names_of_its_mistakes(self, graded):
        # of 1b the half that starts at the base, of 4 the half that asks for no whole name
        assert float(graded[0]["half"]["score"]) == 18 - 2 - 1 - 1 - 3 - 3
        for words in NAMED:
            assert words in graded[1]("half")
        assert "longer than the time limit" in graded[1]("half")

    def test_patching_the_comparison_wins_nothing(self, graded):
        assert "0 of 2" in graded[1]("patched").partition("1b.")[0]
        assert float(graded[0]["patched"]["score"]) <= 16

    def test_a_copied_sheet_is_wrong_for_another_student(self, graded):
        assert float(graded[0]["copied"]["score"]) == 17


def test_the_columns_are_nbgraders(tmp_path):
    """Its exporter, run on an empty gradebook, writes the same header."""

    class Empty:
        assignments = ()

    exporter = nbgrader.plugins.CsvExportPlugin(to=str(tmp_path / "grades.csv"))
    exporter.export(Empty())
    assert (tmp_path / "grades.csv").read_text().strip() == ",".join(COLUMNS)


def test_without_bubblewrap_it_refuses_and_names_the_flag_and_the_risk(
    tmp_path, monkeypatch, capsys
):
    hand_in(tmp_path / "in", "ada", notebook("ada"))
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    sandbox.check.cache_clear()
    status = main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--seed", "1"])
    sandbox.check.cache_clear()
    assert status == 2
    message = capsys.readouterr().err
    for words in ("bubblewrap", "--no-sandbox", "delete"):
        assert words in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("submissions", "out", "says"),
    [
        ("nowhere", "out", "there is no folder"),
        ("empty", "out", "holds no submissions"),
        ("in", "in/out", "outside"),
    ],
)
def test_what_cannot_begin_says_why(tmp_path, capsys, submissions, out, says):
    (tmp_path / "empty").mkdir()
    hand_in(tmp_path / "in", "ada", notebook("ada"))
    arguments = ["grade", str(tmp_path / submissions), "--out", str(tmp_path / out)]
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals and links as on POSIX")
def test_without_a_sandbox_it_grades_too(tmp_path, monkeypatch):
    monkeypatch.setattr(grade, "exercise", lambda number: SMALL)
    hand_in(tmp_path / "in", "right", small_notebook())
    loop = {"lora_forward": RIGHT + "\nwhile True: pass"}
    hand_in(tmp_path / "in", "loop", small_notebook(loop))
    arguments = ["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--seed", "1"]
    assert main([*arguments, "--no-sandbox", "--task-seconds", "2"]) == 0
    scores = [line.split(",")[9] for line in (tmp_path / "out" / "grades.csv").open()]
    assert scores == ["score", "5.0", "7.0"]


def test_file_names_of_pages_never_leave_their_folder_nor_collide():
    students = [
        "ada",
        "Ada",
        "../../etc/passwd",
        "..",
        "a/b",
        "a_b",
        "\x00",
        "é",
        "è",
        "x" * 300,
        "",
    ]
    names = file_names(students)
    assert len({name.casefold() for name in names}) == len(students)
    for name in names:
        assert name.isascii() and "/" not in name and not name.startswith(".")
        assert len(name) < 120
    assert names[0] == "ada.html"


@pytest.mark.parametrize(
    "data", [b"", b"x" * 100, protocol.encode(1)[:-3], b"\xff" * 8 + b"{}", b"{" * 50, b"\0" * 64]
)
def test_bytes_that_are_no_message_raise_one_kind_of_error(data):
    with pytest.raises(protocol.ProtocolError):
        protocol.decode(data)
