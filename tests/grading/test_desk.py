"""The instructor's desk: seeds, resuming, points by hand, lateness, sheets, tables."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from minipeft.__main__ import main
from minipeft.grading import grade
from minipeft.grading.desk import by_hand, tables
from minipeft.grading.desk.folder import Folder, Refused, chosen_seed
from minipeft.grading.desk.late import Rule
from minipeft.grading.desk.marks import marks
from minipeft.grading.exercises.solutions import public_seeds, right_answers
from minipeft.grading.handins.collected import HandIn
from minipeft.grading.handins.roster import Student
from minipeft.grading.results import Result, Verdict

from .handing_in import EXERCISE, ROOT, SMALL, hand_in, needs_sandbox, small_notebook
from .hostile import RIGHT, WRONG

sandboxed = [pytest.mark.sandbox, needs_sandbox, pytest.mark.timeout(300)]
RULE = Rule()


def result(student, claim="", texts=(), **points):
    verdicts = {t.name: Verdict(True, "why", t.points) for t in EXERCISE.tasks}
    for name, value in points.items():
        verdicts[name] = Verdict(False, "no", value)
    return Result(student, verdicts, claim=claim, texts=dict(texts))


def handed(student, **more):
    return HandIn(student, EXERCISE.notebook, lambda: b"", **{"name": student, **more})


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Grades a folder of small notebooks: `small(ada=RIGHT)`, then `small.run("--seed", "5")`."""
    monkeypatch.setattr(grade, "exercise", lambda number: SMALL)

    class Class:
        folder, out = tmp_path / "in", tmp_path / "out"

        def __call__(self, **cells):
            for student, source in cells.items():
                hand_in(self.folder, student, small_notebook({"lora_forward": source}))
            return self

        def run(self, *options):
            return main(["grade", str(self.folder), "--out", str(self.out), *options])

        def rows(self):
            with (self.out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
                return {row["student_id"]: row for row in csv.DictReader(file)}

        def enter(self, student, task, points, comment=""):
            path = self.out / "by_hand.csv"
            with path.open(encoding="utf-8-sig", newline="") as file:
                separator = ";" if ";" in file.readline() else ","
                file.seek(0)
                rows = list(csv.DictReader(file, delimiter=separator))
            for row in rows:
                if (row["student_id"], row["task"]) == (student, task):
                    row["points"], row["comment"] = points, comment
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, rows[0], delimiter=";")  # as a German Excel saves it
                writer.writeheader()
                writer.writerows(rows)

    return Class()


class TestSeeds:
    def test_zero_and_the_solutions_own_are_refused(self):
        public = public_seeds(EXERCISE)
        assert {0, 20261122} <= public
        for seed in (*public, -3):
            with pytest.raises(Refused, match="no secret"):
                chosen_seed(seed, {}, {}, public, False)

    def test_a_used_seed_is_refused_for_what_came_later_and_only_for_that(self):
        before = {"seed": 5, "finished": True, "handins": {"ada": "x"}}
        assert chosen_seed(5, before, {"ada": "x"}, [0], False) == 5
        assert chosen_seed(None, before, {"ada": "x"}, [0], False) == 5
        for later in ({"ada": "y"}, {"ada": "x", "bob": "z"}):
            with pytest.raises(Refused, match="used here before"):
                chosen_seed(5, before, later, [0], False)
            assert chosen_seed(5, before, later, [0], True) == 5
            assert chosen_seed(7, before, later, [0], False) == 7
            assert chosen_seed(None, before, later, [0], False) != 5
            assert chosen_seed(5, {**before, "finished": False}, later, [0], False) == 5


@pytest.mark.sandbox
@needs_sandbox
@pytest.mark.timeout(300)
class TestRuns:
    def test_seed_and_settings_are_stored_and_a_second_run_changes_nothing(self, small):
        small(ada=RIGHT, bob=WRONG)
        assert small.run() == 0
        settings = json.loads((small.out / "settings.json").read_text())
        assert settings["finished"] and settings["seed"] > 0
        files = {p: p.read_bytes() for p in small.out.rglob("*") if p.is_file()}
        assert small.run("--seed", str(settings["seed"])) == 0
        assert {p: p.read_bytes() for p in small.out.rglob("*") if p.is_file()} == files
        assert small.run("--seed", "0") == 2
        small(late=RIGHT)
        assert small.run("--seed", str(settings["seed"])) == 2
        assert small.run() == 0
        assert json.loads((small.out / "settings.json").read_text())["seed"] != settings["seed"]

    def test_pages_of_students_who_left_go(self, small):
        small(ada=RIGHT, bob=RIGHT)
        assert small.run("--seed", "5") == 0
        (small.folder / "bob").rename(small.folder.parent / "bob")
        assert small.run("--seed", "5") == 0
        assert [path.stem for path in (small.out / "feedback").iterdir()] == ["ada"]
        assert list(small.rows()) == ["ada"]

    def test_points_by_hand_overrides_and_late_days_are_merged(self, small):
        small(ada=RIGHT, bob=WRONG)
        assert small.run("--seed", "5") == 0
        small.enter("bob", "lora_forward", "1,5", "well argued")
        small.enter("ada", by_hand.LATE, "3")
        assert small.run("--seed", "5", "--late-days", "1", "--penalty", "10") == 0
        assert float(small.rows()["bob"]["score"]) == 6.5
        row = small.rows()["ada"]
        assert (row["raw_score"], row["late_submission_penalty"], row["score"]) == (
            "7.0",
            "1.4",
            "5.6",
        )
        page = (small.out / "feedback" / "bob.html").read_text()
        assert "well argued" in page and "Points entered by a person" in page
        assert small.run("--seed", "5") == 0  # entries survive a run
        assert float(small.rows()["bob"]["score"]) == 6.5
        small.enter("bob", "lora_forward", "9")
        before = (small.out / "grades.csv").read_bytes()
        assert small.run("--seed", "5") == 2
        assert (small.out / "grades.csv").read_bytes() == before

    def test_what_is_passed_over_is_said_and_makes_the_status_one(self, small, capsys):
        small(ada=RIGHT)
        (small.folder / "bob").mkdir()
        (small.folder / "bob" / "report.pdf").write_bytes(b"%PDF")
        (small.folder / "essay.docx").write_bytes(b"x")
        assert small.run("--seed", "5") == 1
        told = capsys.readouterr().err
        assert "bob" in told and "report.pdf" in told and "essay.docx" in told
        assert float(small.rows()["ada"]["score"]) == 7
        assert float(small.rows()["bob"]["score"]) == 0


@pytest.mark.sandbox
@needs_sandbox
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_grader_keeps_what_is_done_leaves_no_sandbox_and_goes_on(tmp_path, number):
    mark = f"27182.{os.getpid():07}{int(number):02}"
    sleeps = RIGHT + f"\nimport subprocess\nsubprocess.run(['/usr/bin/sleep', '{mark}'])"
    hand_in(tmp_path / "in", "ada", small_notebook())
    hand_in(tmp_path / "in", "zoe", small_notebook({"lora_forward": sleeps}))
    script = (
        "import sys; from minipeft.grading import grade; from minipeft.__main__ import main\n"
        "from tests.grading.handing_in import SMALL\n"
        "grade.exercise = lambda number: SMALL\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = ["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--seed", "5"]
    run = [sys.executable, "-c", script, *command, "--jobs", "1", "--task-seconds", "4"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # A shell's background jobs, such as these tests may be, ignore Ctrl-C, and so would its child.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    grader = subprocess.Popen(run, cwd=ROOT, **quiet, **heard)
    patience = time.monotonic() + 400  # as long as a busy machine takes
    while not running(mark):
        assert time.monotonic() < patience and grader.poll() is None
        time.sleep(0.1)
    assert (tmp_path / "out" / "results" / "ada.json").exists()
    began = (tmp_path / "out" / "results" / "ada.json").stat().st_mtime_ns
    grader.send_signal(number)
    assert grader.wait(60) in (130, -number)
    patience = time.monotonic() + 20
    while running(mark) and time.monotonic() < patience:
        time.sleep(0.1)
    assert not running(mark)
    assert not (tmp_path / "out" / "grades.csv").exists()
    assert subprocess.run(run, cwd=ROOT, check=False, capture_output=True).returncode == 0
    assert (tmp_path / "out" / "results" / "ada.json").stat().st_mtime_ns == began
    assert "zoe" in (tmp_path / "out" / "grades.csv").read_text()


def running(mark):
    commands = (_command(path) for path in Path("/proc").glob("[0-9]*/cmdline"))
    return [command for command in commands if mark.encode() in command]


def _command(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("make", ["file", "below a file", "in submissions"])
def test_an_out_that_cannot_be_written_is_noticed_first(tmp_path, capsys, make):
    hand_in(tmp_path / "in", "ada", small_notebook())
    (tmp_path / "file").write_text("")
    out = {"file": "file", "below a file": "file/out", "in submissions": "in/out"}[make]
    assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / out), "--seed", "5"]) == 2
    assert "--out" in capsys.readouterr().err


def test_two_graders_do_not_share_a_folder(tmp_path):
    first, second = Folder(tmp_path / "out"), Folder(tmp_path / "out")
    with first.taken(), pytest.raises(Refused, match="another grader"), second.taken():
        pass


@pytest.mark.parametrize("options", [["--penalty", "-1"], ["--jobs", "0"], ["--memory", "-2"]])
def test_settings_that_cannot_be_meant_are_refused(tmp_path, capsys, options):
    hand_in(tmp_path / "in", "ada", small_notebook())
    assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *options]) == 2
    assert options[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


HEADER = "student_id,task,points,comment\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEADER + "ada,mergge,1,\n", "line 2: there is no task 'mergge'; nearest: 'merge'"),
        (HEADER + "ada,merge,3,\n", "points are '3'; they can be 0 to 2"),
        (HEADER + "ada,merge,-1,\n", "points are '-1'"),
        (HEADER + "ada,merge,two,\n", "points are 'two'"),
        (HEADER + "ada,merge,nan,\n", "points are 'nan'"),
        (HEADER + "ada,merge,1,\nada,merge,2,\n", "line 3: 'ada' has a second line"),
        ("student,points\nada,1\n", "lost its column 'student_id'"),
    ],
)
def test_a_by_hand_file_that_cannot_be_meant_is_refused(tmp_path, text, says):
    (tmp_path / "by_hand.csv").write_text(text)
    with pytest.raises(Refused) as caught:
        by_hand.read(tmp_path / "by_hand.csv", EXERCISE)
    assert says in str(caught.value)


def test_what_was_entered_comes_back_from_any_spreadsheet(tmp_path):
    students = [("=1+1", "Sum"), ("'quoted", "Q"), ("zoë", "Zoë")]
    found = {student: {} for student, _ in students}
    entry = by_hand.Entry(1.5, '-looks, like; a "formula"\nof two lines')
    entries = {(student, "merge"): entry for student, _ in students}
    entries["gone", "merge"] = by_hand.Entry(1.0, "")
    text = by_hand.table(students, found, found, entries, EXERCISE)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "by_hand.csv").write_bytes(text.encode(encoding))
        assert by_hand.read(tmp_path / "by_hand.csv", EXERCISE) == entries
    for row in csv.reader(text.splitlines()):
        assert not any(cell[:1] in tuple("=+-@") for cell in row if not cell.startswith("'"))


@pytest.mark.parametrize(
    ("timestamp", "days"),
    [
        ("2026-11-30 23:59:00", 0),
        ("2026-12-01 00:01:00", 1),
        ("2026-12-02 23:59:00", 2),
        ("2026-12-01 01:00:00+02:00", 0),
        ("", 0),
    ],
)
def test_days_late(timestamp, days):
    rule = Rule(datetime(2026, 11, 30, 23, 59), free_days=1, percent=25)
    assert rule.days(timestamp) == days
    assert rule.penalty(10, days) == max(0, days - 1) * 2.5
    assert rule.penalty(10, 99) == 10


class TestSheets:
    """A sheet follows the student, not the file's name."""

    def points(self, *pairs):
        return [m.points["my_counts"] for m in marks(pairs, EXERCISE, {}, RULE)]

    def test_an_id_that_nobody_else_has_is_honoured_and_told(self):
        pair = handed("lovelaceada"), result("lovelaceada", claim="s42")
        (mark,) = marks([pair], EXERCISE, {}, RULE)
        assert mark.points["my_counts"] == 1
        assert "writes the id 's42'" in mark.look[0]

    def test_another_students_sheet_is_not(self):
        ada = handed("ada"), result("ada", claim="ada")
        copied = handed("mal"), result("mal", claim=" ADA")
        assert self.points(ada, copied) == [1, 0]
        assert self.points(copied, ada) == [0, 1]

    def test_a_name_of_a_platform_is_recognised(self):
        ada = handed("Ada Lovelace", ids=("moodle:1001",)), result("Ada Lovelace", claim="ada")
        mal = handed("Mal Ory"), result("Mal Ory", claim="ada")
        assert self.points(ada, mal) == [1, 0]

    def test_with_a_roster_only_the_students_ids_count(self):
        line = Student("s1", "Ada Lovelace", ids=("s1", "ada@x.org", "ada"))
        for claim, points in (("s1", 1), ("ada", 1), ("ADA@x.org ", 1), ("s2", 0), ("lovelace", 0)):
            pair = handed("s1", on=line, ids=line.ids), result("s1", claim=claim)
            assert self.points(pair) == [points], claim


def test_what_is_not_written_is_nothing_and_what_is_waits():
    empty = handed("a"), result("a", texts={"explain_start": "YOUR ANSWER HERE"})
    full = handed("b"), result("b", texts={"explain_start": "Because B is zero."})
    first, second = marks([empty, full], EXERCISE, {}, RULE)
    assert first.points["explain_start"] == 0
    assert second.waits == ["explain_start"]
    entries = {("b", "explain_start"): by_hand.Entry(1.5)}
    assert marks([full], EXERCISE, entries, RULE)[0].raw == 19.5


def table(text):
    return list(csv.reader(text.removeprefix(tables.BOM).splitlines()))


def test_the_tables_of_the_platforms():
    line = Student(
        "s51", "Ada Lovelace", "ada@x.org", "ada", "51", "1001", "A", "", "Lovelace, Ada"
    )
    pairs = [
        (handed("s51", on=line, ids=("s51",)), result("s51")),
        (handed("hamiltongil", number="canvas:52"), result("hamiltongil", merge=0.0)),
        (handed("=Evil (7)", name="=Evil", number="moodle:7"), result("=Evil (7)")),
        (handed("nobody"), result("nobody")),
    ]
    final = marks(pairs, EXERCISE, {}, RULE)
    header, points, ada, gil = table(tables.canvas(final, EXERCISE, "Exercise 03 (7)"))
    assert header == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Exercise 03 (7)"]
    assert points[0].strip() == "Points Possible" and points[-1] == "20"
    assert ada == ["Lovelace, Ada", "51", "s51", "ada", "A", "18"]
    assert gil[:2] == ["hamiltongil", "52"] and gil[-1] == "16"
    header, ada, evil = table(tables.moodle(final, EXERCISE))
    assert dict(zip(header, ada, strict=True))["Identifier"] == "Participant 1001"
    assert dict(zip(header, ada, strict=True))["Grade"] == "18"
    assert evil[1] == "'=Evil"
    rows = table(tables.grades(final, EXERCISE, RULE))
    assert rows[0][: len(tables.COLUMNS)] == list(tables.COLUMNS)
    assert rows[0][-1] == "explain_start" and "my_counts" in rows[0]
    assert tables.grades(final, EXERCISE, RULE).startswith("\ufeff")
    assert "'=Evil (7)" in {row[3] for row in rows}


def test_right_answers_are_those_of_the_solution():
    answers = right_answers(EXERCISE)
    assert set(answers) == {task.name for task in EXERCISE.tasks}
    assert "def merge" in answers["merge"]
