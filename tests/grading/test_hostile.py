"""What submissions try, and that it costs nobody but themselves. All are graded in one run."""

import contextlib
import csv
import ctypes
import json
import os
import secrets
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from minipeft.__main__ import main
from minipeft.grading import grade
from minipeft.grading.desk.spreadsheet import plain

from .handing_in import ROOT, SMALL, code_cell, grade_id, hand_in, needs_sandbox, small_notebook
from .hostile import FULL, HOSTILE, LOST, RIGHT, WRONG

pytestmark = [pytest.mark.sandbox, needs_sandbox, pytest.mark.timeout(900)]

ODD_NAMES = [
    "<script>alert(1)<script>",
    'a,"b"',
    "=1+1",
    "x..",
    "new\nline",
    "Zoë Ünal",
    "CON",
    "right ",
]
ACCEPTED = [*ODD_NAMES, "large-outputs", "list-for-id"]
SETTINGS = ["--seed", "42", "--task-seconds", "2", "--memory", "1"]
MARK = f"31415.{secrets.randbelow(10**9):09}"  # seconds to sleep, by which a process is known


def twice(first: str, second: str) -> dict:
    """A notebook in which the cell of lora_forward stands twice."""
    made = small_notebook({"lora_forward": first})
    place = next(i for i, c in enumerate(made["cells"]) if grade_id(c) == "lora_forward")
    copied = dict(made["cells"][place], source=second)
    made["cells"].insert(place + 1, copied)
    return made


def broken_files(folder: Path) -> None:
    """Submissions that are no notebook at all."""
    hand_in(folder, "not-json", b"this is not a notebook")
    hand_in(folder, "not-utf-8", b'{"cells": "\xff\xfe"}')
    hand_in(folder, "empty", b"")
    hand_in(folder, "deep-json", b"[" * 100_000)
    hand_in(folder, "other-json", b'{"cells": 7}')
    hand_in(folder, "odd-cells", b'{"cells": [{"cell_type": "code", "source": [1]}, 3]}')
    hand_in(folder, "no-cells", b'{"cells": []}')
    hand_in(folder, "null-metadata", b'{"cells": [{"cell_type": "code", "metadata": null}]}')
    hand_in(folder, "list-for-id", odd_id())
    empty = [{"cell_type": "code", "source": "", "metadata": {}}]
    hand_in(folder, "many-cells", json.dumps({"cells": empty * 400_000}).encode())
    hand_in(folder, "much-code", small_notebook({"lora_forward": RIGHT + "#" * (1 << 20)}))
    large = small_notebook()
    large["cells"][0]["outputs"] = [
        {"output_type": "stream", "name": "x", "text": "x" * (30 << 20)}
    ]
    hand_in(folder, "large-outputs", large)
    hand_in(folder, "a-folder", b"x").unlink()
    (folder / "a-folder" / SMALL.notebook / f"{SMALL.notebook}.ipynb").mkdir()
    hand_in(folder, "a-pipe", b"x").unlink()
    os.mkfifo(folder / "a-pipe" / SMALL.notebook / f"{SMALL.notebook}.ipynb")
    hand_in(folder, "a-link", b"x").unlink()
    link = folder / "a-link" / SMALL.notebook / f"{SMALL.notebook}.ipynb"
    link.symlink_to(folder / "right" / SMALL.notebook / f"{SMALL.notebook}.ipynb")
    (folder / "nothing").mkdir()
    (folder / "linked-student").symlink_to(folder / "right")
    with contextlib.suppress(OSError):  # not every filesystem takes such a name
        hand_in(folder, os.fsdecode(b"name-\xff"), small_notebook())


def odd_id() -> dict:
    """A right notebook with a cell whose grade_id is no text."""
    made = small_notebook()
    made["cells"].append(code_cell("x = 1", grade_id=["merge"], solution=True))
    return made


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Every file below a folder, and every link with where it leads."""
    return {
        str(path): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture(scope="module")
def listeners():
    """A name in the abstract namespace and a port of this machine, to see who connects."""
    name = f"minipeft-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as unix, socket.socket() as tcp:
        unix.bind("\0" + name)
        tcp.bind(("127.0.0.1", 0))
        for server in (unix, tcp):
            server.listen()
            server.settimeout(0)
        yield name, unix, tcp


def keys_of_this_session() -> str:
    """Puts a key into a session keyring of this process's own, as a login would; its name."""
    libc, name = ctypes.CDLL(None), f"minipeft-{secrets.token_hex(4)}"
    libc.syscall(250, 1, None)
    libc.syscall(248, b"user", name.encode(), b"secret", 6, -3)
    return name


@pytest.fixture(scope="module")
def graded(tmp_path_factory, listeners):
    """(rows by student, folder of feedback, folder) of one run over everything hostile."""
    folder = tmp_path_factory.mktemp("course")
    submitted = folder / "submitted"
    hand_in(submitted, "right", small_notebook())
    host = [str(ROOT), sys.prefix, sys.base_prefix, str(Path(np.__file__).parents[1]), str(folder)]
    fields = {
        "{folder!r}": repr(str(folder)),
        "{seconds}": MARK,
        "{name!r}": repr(listeners[0]),
        "{port}": str(listeners[2].getsockname()[1]),
        "{paths!r}": repr([path for path in host if not path.startswith("/usr")]),
        "{key}": keys_of_this_session(),
        "{{number}}": "{number}",
    }
    for name, hostile in HOSTILE.items():
        cells = {"lora_forward": hostile.source, **hostile.more}
        for field, value in fields.items():
            cells = {cell: source.replace(field, value) for cell, source in cells.items()}
        hand_in(submitted, name, small_notebook(cells))
    hand_in(submitted, "missing-cell", small_notebook({"lora_forward": None}))
    elsewhere = small_notebook({"lora_forward": None})
    elsewhere["cells"].insert(3, code_cell(RIGHT))
    hand_in(submitted, "elsewhere", elsewhere)
    hand_in(submitted, "twice-right-last", twice(WRONG, RIGHT))
    hand_in(submitted, "twice-wrong-last", twice(RIGHT, WRONG))
    hand_in(submitted, "zz-right", small_notebook())
    for name in ODD_NAMES:
        hand_in(submitted, name, small_notebook())
    broken_files(submitted)
    before = snapshot(folder)
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(grade, "exercise", lambda number: SMALL)
    out = folder.with_name(f"{folder.name}-out")
    assert main(["grade", str(folder), "--out", str(out), *SETTINGS]) == 0
    monkeypatch.undo()
    assert snapshot(folder) == before, "a submission changed a file"
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {plain(row["student_id"]): row for row in csv.DictReader(file)}
    return rows, out / "feedback", folder


def feedback(graded, student: str) -> str:
    return (graded[1] / f"{student}.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_costs_itself_and_nothing_else(graded, name):
    assert float(graded[0][name]["score"]) == HOSTILE[name].score, feedback(graded, name)
    assert HOSTILE[name].says in feedback(graded, name)


@pytest.mark.parametrize("name", ["right", "zz-right", "elsewhere", "twice-right-last", *ACCEPTED])
def test_the_right_ones_among_them_keep_every_point(graded, name):
    assert float(graded[0][name]["score"]) == FULL


@pytest.mark.parametrize("name", ["missing-cell", "twice-wrong-last"])
def test_missing_and_repeated_cells(graded, name):
    assert float(graded[0][name]["score"]) == LOST


@pytest.mark.parametrize(
    ("name", "says"),
    {
        "not-json": "not valid JSON",
        "not-utf-8": "not UTF-8",
        "empty": "empty",
        "deep-json": "not valid JSON",
        "other-json": "not a notebook",
        "odd-cells": "not a notebook",
        "a-folder": "is a folder",
        "a-pipe": "not a file",
        "a-link": "a link",
        "nothing": "nothing was handed in",
        "linked-student": "nothing was handed in",
        "no-cells": "no function called",
        "null-metadata": "not a notebook",
        "many-cells": "400000 cells",
        "much-code": "more than 1 MB of code",
    }.items(),
)
def test_what_is_no_notebook_scores_zero_and_says_why(graded, name, says):
    assert float(graded[0][name]["score"]) == 0
    assert says in feedback(graded, name)


def test_every_student_has_a_row_and_a_page(graded):
    rows, pages, folder = graded
    students = {os.fsencode(path.name) for path in (folder / "submitted").iterdir()}
    assert len(rows) == len(students) == len(list(pages.iterdir()))
    assert all(path.name.isascii() and path.suffix == ".html" for path in pages.iterdir())


def test_no_one_was_reached_over_a_socket(graded, listeners):
    for server in listeners[1:]:
        with pytest.raises(BlockingIOError):
            server.accept()


def test_every_attack_says_what_it_tries():
    assert len(HOSTILE) >= 60
    assert all(hostile.tries for hostile in HOSTILE.values())


def test_what_is_lost_is_lost_because_nothing_was_found(graded):
    """The attacks that look for something run to their end: a right answer is in their reach."""
    for name, hostile in HOSTILE.items():
        if "if found else" in hostile.source:
            assert "the shape is" in feedback(graded, name), feedback(graded, name)


def test_nothing_outlives_the_grading(graded):
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(path.read_bytes())
    assert not [command for command in commands if MARK.encode() in command]


def test_no_page_runs_what_a_student_wrote(graded):
    for path in graded[1].iterdir():
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text
        assert "<img" not in text
        assert not set(text) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068"), path


def test_alone_or_among_the_hostile_the_score_is_the_same(graded, tmp_path, monkeypatch):
    monkeypatch.setattr(grade, "exercise", lambda number: SMALL)
    for name in ("right", "wrong"):
        made = json.loads(
            (
                graded[2] / "submitted" / name / SMALL.notebook / f"{SMALL.notebook}.ipynb"
            ).read_bytes()
        )
        hand_in(tmp_path / "submitted", name, made)
    for run in ("a", "b"):
        assert (
            main(["grade", str(tmp_path / "submitted"), "--out", str(tmp_path / run), *SETTINGS])
            == 0
        )
    first, second = ((tmp_path / run / "grades.csv").read_bytes() for run in ("a", "b"))
    assert first == second
    for row in csv.DictReader(first.decode("utf-8-sig").splitlines()):
        assert row == graded[0][row["student_id"]]
    for name in ("right", "wrong"):
        again = (tmp_path / "a" / "feedback" / f"{name}.html").read_bytes()
        assert again == (graded[1] / f"{name}.html").read_bytes()
