"""The page of some figures: what holds, what misses, what wasn't measured."""

from dataclasses import asdict

import pytest

from benchmarks.page import table_line, write_page
from benchmarks.record import Options, Row, counted, machine, timed, update
from benchmarks.timing import Spread


def page_of(rows, folder, growth=()) -> str:
    path = folder / "cpu.json"
    fields = {"machine": machine(Options()), "versions": {"torch": "2.13.0"}, "seconds": 120}
    parts = {"some": [asdict(row) for row in rows], "growth": list(growth)}
    update(path, fields | {"command": "make bench"}, parts)
    write_page(path)
    return (folder / "cpu.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("at_most, goal, word", [
    (0.9, 0.7, "holds"), (0.9, 0.8, "reached"), (0.75, 0.7, "misses"), (None, None, "")
])  # fmt: skip
def test_a_ratio_beside_its_limit(at_most, goal, word):
    times = {"ours": [0.8, 0.8, 0.8], "peft": [1.0, 1.0, 1.0]}
    row = timed("A step", times, "peft", at_most, goal)
    line = table_line(asdict(row))
    assert line.startswith("| A step / peft | **0.800** |")
    assert line.endswith(f"| 800 ms | 1 s | {word} |")
    assert row.holds is (None if at_most is None else at_most >= 0.8)


def test_time_beyond_the_base():
    times = {"ours": [1.1, 2.2, 3.3], "peft": [1.4, 2.8, 4.2], "base": [1.0, 2.0, 3.0]}
    row = timed("Mixed", times, "peft", 0.45, beyond="base")
    assert row.ratio.median == pytest.approx(0.25)
    assert row.ours.median == pytest.approx(0.2) and row.other.median == pytest.approx(0.8)


def test_bytes_seconds_and_nothing():
    peak = counted("Peak", 3_000_000, 4_000_000, "peft", 1.0, None)
    alone = Row("Import", "torch", None, 0.3, 0.1, Spread(0.05, 0.04, 0.07))
    empty = Row("Compiled", "bitsandbytes", note="there is no compiler")
    lines = [table_line(asdict(row)) for row in (peak, alone, empty)]
    assert lines[0] == "| Peak / peft | **0.750** | 1.00 |  | 3 MB | 4 MB | holds |"
    assert lines[1].startswith("| Import / torch | **50 ms** [40 ms, 70 ms] | 0.30 | 0.10 | 50 ms")
    assert "not measured: there is no compiler" in lines[2]
    assert alone.holds and empty.holds is None and "no compiler" in str(empty)


def test_the_page_and_its_pictures(tmp_path):
    point = {"what": "switch", "grows": "adapters loaded", "value": 5}
    point |= {"seconds": {"ours": 0.1, "peft": 0.2}, "bytes": {"ours": 1, "peft": 2, "theory": 1}}
    page = page_of([counted("Peak", 1, 2, "peft", 1.0, None)], tmp_path, [point])
    assert "| Peak / peft | **0.500** |" in page and str(tmp_path) not in page
    for words in ("`make bench`", "2 minutes", "torch 2.13.0", machine(Options())["processor"]):
        assert words in page
    for name in ("cpu.png", "cpu_growth.png"):
        assert f"]({name})" in page
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert all(len(alt.split()) > 10 for alt in page.split("![")[1:])
