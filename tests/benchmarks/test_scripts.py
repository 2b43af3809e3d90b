"""Every script runs, with tiny sizes, and writes well-formed JSON and a page. Never how fast."""

import importlib
import json
import math
import runpy
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as everything
from benchmarks.record import Options, machine

SCRIPTS = everything.SCRIPTS


@pytest.fixture(autouse=True)
def uncompiled():
    """torch.compile takes seconds for each function, and is bitsandbytes' and nf4.py's alone."""
    with torch.compiler.set_stance("force_eager"):
        yield


def run(name: str, path, monkeypatch, *more: str) -> list[dict]:
    """The script's part of the JSON, after a run from the command line."""
    threads = str(torch.get_num_threads())
    command = [name, "--tiny", "--threads", threads, "--out", str(path), *more]
    monkeypatch.setattr(sys, "argv", command)
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    return json.loads(path.read_text(encoding="utf-8"))["parts"][name]


def numbers(thing) -> list[float]:
    """All the numbers in it, however deep."""
    if isinstance(thing, dict):
        return [number for value in thing.values() for number in numbers(value)]
    return [thing] if isinstance(thing, int | float) else []


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_writes_its_part(name, tmp_path, monkeypatch):
    path = tmp_path / "cpu.json"
    path.write_text('{"parts": {"another": [1]}, "command": "make bench"}')
    part = run(name, path, monkeypatch)
    assert part
    for row in part:
        assert row["what"] and all(map(math.isfinite, numbers(row)))
        assert row.get("note") or any(numbers(row.get("seconds") or row["ours"]))
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["parts"]["another"] == [1] and record["command"] == "make bench"
    assert record["versions"]["torch"] == torch.__version__
    assert set(record["machine"]) >= {"processor", "threads", "dtype", "device"}


@pytest.mark.parametrize("name", ["method_steps", "qlora_step", "mixed_batches"])
def test_in_16_bits(name, tmp_path, monkeypatch):
    """As on a GPU: the base has 16 bits, the adapters 32; both libraries find the same loss."""
    assert run(name, tmp_path / "cpu.json", monkeypatch, "--dtype", "bfloat16")


@pytest.mark.parametrize("name", ["lora_step", "nf4", "qlora_step", "mixed_batches"])
def test_what_only_a_gpu_is_asked(name, monkeypatch):
    """The same code, with a processor in the part of the GPU."""
    monkeypatch.setattr(Options, "cuda", True)
    rows = list(importlib.import_module(f"benchmarks.{name}").rows(Options(tiny=True)))
    wanted = {"lora_step": "frozen base", "nf4": "copy", "mixed_batches": "one adapter"}
    assert wanted.get(name, "peft + bitsandbytes") in {row.against for row in rows}


@pytest.mark.gpu
@pytest.mark.parametrize("name", SCRIPTS)
def test_on_a_gpu(name, tmp_path, monkeypatch):
    assert run(name, tmp_path / "cuda.json", monkeypatch, "--device", "cuda")
    record = json.loads((tmp_path / "cuda.json").read_text(encoding="utf-8"))
    assert record["machine"]["device"] == torch.cuda.get_device_name()


def test_a_gpu_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        run("switching", tmp_path / "cuda.json", monkeypatch, "--device", "cuda")
    assert "--device cuda" in capsys.readouterr().err


def test_the_record_of_a_gpu_names_it(monkeypatch):
    class Properties:
        name, total_memory = "A Card", 2**34

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    record = machine(Options(device="cuda:0", dtype=torch.bfloat16))
    assert record["device"] == "A Card" and record["dtype"] == "bfloat16"
    json.dumps(record)


def test_all_in_one_command(tmp_path, monkeypatch):
    """A script that fails is named at the end; what the others found is on the page."""
    asked = []

    def finished(command):
        asked.append(command[2].removeprefix("benchmarks."))
        given = dict(zip(command[3::2], command[4::2], strict=False))
        if asked[-1] == "switching":
            return type("Done", (), {"returncode": 1})
        record = {"machine": machine(Options()), "versions": {"torch": "2"}, "parts": {}}
        Path(given["--out"]).write_text(json.dumps(record))
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(everything.subprocess, "run", finished)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--results", str(tmp_path)])
    with pytest.raises(SystemExit, match="switching"):
        everything.main()
    assert asked == list(SCRIPTS)
    assert json.loads((tmp_path / "cpu.json").read_text())["command"] == "make bench"
    assert {path.name for path in tmp_path.iterdir()} == {
        "cpu.json",
        "cpu.md",
        "cpu.png",
        "cpu_growth.png",
    }
