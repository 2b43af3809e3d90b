"""The script of the recorded runs still makes what is shipped, as far as one step can tell."""

import json

import pytest

from minipeft.course.base import DATA
from scripts import sweep

RECORDED = json.loads((DATA / "learning_and_forgetting.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", sweep.RATES)
def test_a_run_has_the_shape_of_the_recorded_ones(method, monkeypatch):
    monkeypatch.setattr(sweep, "STEPS", 1)
    rate = sweep.RATES[method][0]
    made = sweep.run("pirate", method, rate, seed=0)
    same = {"task": "pirate", "method": method, "rate": rate, "seed": 0}
    (recorded,) = [run for run in RECORDED["runs"] if same.items() <= run.items()]
    assert made.keys() == recorded.keys()
    for key in ("trained", "floor", "own_floor"):
        assert made[key] == recorded[key]
    assert made["loss"] > recorded["loss"] and 0 < made["size"] < recorded["size"]


def test_every_run_that_the_script_would_make_is_there():
    assert (RECORDED["steps"], RECORDED["batch_size"]) == (sweep.STEPS, sweep.BATCH)
    rates = sum(len(rates) for rates in sweep.RATES.values())
    assert len(RECORDED["runs"]) == len(sweep.TASKS) * len(sweep.SEEDS) * rates
