"""The script of the recorded runs on four bits still makes what is shipped; lesson 11 reads it."""

import json
import statistics

import pytest

from minipeft.course.base import DATA
from minipeft.course.lab.pictures.lesson_11 import sweep_picture
from minipeft.course.lessons.qlora_recorded import lora_full_and_qlora
from scripts import sweep, sweep_qlora

RECORDED = json.loads((DATA / "qlora.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", sweep_qlora.METHODS)
def test_a_run_has_the_shape_of_the_recorded_ones(method, monkeypatch):
    monkeypatch.setattr(sweep_qlora, "STEPS", 1)
    made = sweep_qlora.run("instruction", method, 1e-3, seed=0)
    same = {"task": "instruction", "method": method, "rate": 1e-3, "seed": 0}
    (recorded,) = [run for run in RECORDED["runs"] if same.items() <= run.items()]
    assert made.keys() == recorded.keys()
    for key in ("trained", "floor", "own_floor"):
        assert made[key] == recorded[key]
    assert made["loss"] > recorded["loss"] and made["update"] < recorded["update"]
    assert (made["update"] > 0.01) == (method == "loftq"), "LoRA's own start is no update"


def test_every_run_that_the_script_would_make_is_there():
    assert (RECORDED["steps"], RECORDED["batch_size"]) == (sweep.STEPS, sweep.BATCH)
    rates = len(sweep.RATES["lora"])
    wanted = len(sweep_qlora.TASKS) * len(sweep.SEEDS) * len(sweep_qlora.METHODS) * rates
    assert len(RECORDED["runs"]) == wanted


def test_points_are_means_over_the_seeds():
    runs = lora_full_and_qlora("instruction")
    assert list(runs) == ["lora", "full", "qlora", "loftq"]
    (point,) = [p for p in runs["qlora"] if p.rate == 3e-3]
    same = [r for r in RECORDED["runs"] if (r["method"], r["rate"]) == ("qlora", 3e-3)]
    learned = [run["loss"] - run["floor"] for run in same]
    assert point.learned == pytest.approx(statistics.mean(learned))
    assert point.spread == (min(learned), max(learned))
    assert [p.rate for p in runs["loftq"]] == list(sweep.RATES["lora"])
    _, alt, data = sweep_picture(runs, (0.1, 0.5), 3e-3)
    assert "Your run of QLoRA: 0.10" in alt and len(data) == 8
