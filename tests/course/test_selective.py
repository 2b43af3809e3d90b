"""Lesson 08: its recorded runs are those that the scripts make, as far as one step can tell."""

import json

import pytest

from minipeft.course.base import DATA
from minipeft.course.lessons import selective
from minipeft.course.lessons.baselines import BASELINES
from scripts import sweep_gates, sweep_selective


def shipped(name):
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("script", "name"), [(sweep_selective, "selective"), (sweep_gates, "gates")]
)
def test_every_run_that_the_script_would_make_is_there_once(script, name):
    wanted, found = script.wanted(), shipped(name)["runs"]
    assert len(found) == len(wanted)
    assert all(sum(w.items() <= run.items() for run in found) == 1 for w in wanted)


@pytest.mark.parametrize("method", selective.METHODS)
def test_a_run_has_the_shape_of_the_recorded_ones(method, monkeypatch):
    monkeypatch.setattr(sweep_selective, "STEPS", 1)
    rate = sweep_selective.RATES[method][0]
    made = sweep_selective.run(method, rate, seed=0)
    same = {"method": method, "rate": rate, "seed": 0}
    (found,) = [run for run in shipped("selective")["runs"] if same.items() <= run.items()]
    assert made.keys() == found.keys()
    for key in ("task", "trained", "floor", "own_floor"):
        assert made[key] == found[key]
    assert made["loss"] > found["loss"]


@pytest.mark.parametrize("chosen_by", sweep_gates.CHOSEN_BY)
def test_gates_are_made_as_they_were(chosen_by, monkeypatch):
    for name in ("STEPS", "AFTER", "EVERY"):
        monkeypatch.setattr(sweep_gates, name, 1)
    made = sweep_gates.run(chosen_by, seed=0)
    found = next(run for run in shipped("gates")["runs"] if run["chosen_by"] == chosen_by)
    assert made.keys() == found.keys()
    assert found["kept"] == int(0.005 * 4 * (393_600 - 2 * 192))
    assert made["kept"] >= found["kept"], "after one step of Adam many entries are of one size"
    if chosen_by == "gates":
        assert all(shares == [1.0, 1.0] for shares in made["open"].values()), "they start open"


def test_ia3_and_the_small_lora_train_as_many_numbers():
    found = selective.compared()
    assert {found[name][0].trained for name in ("ia3", "lora, 2,560")} == {2560}


def test_every_method_has_its_own_best_rate_inside_of_those_tried():
    """So that none is compared at a rate that was too small or too large for it."""
    found = selective.compared()
    assert {"lora", *BASELINES, *selective.METHODS} == found.keys()
    for name in ("ia3", "bitfit", "lora, 2,560", "norms"):
        points = found[name]
        best = min(points, key=lambda p: p.learned)
        assert points[0].rate < best.rate < points[-1].rate, name


def test_what_was_chosen_and_what_was_open():
    for way in selective.chosen():
        assert way.after.keys() == set(sweep_gates.RATES) and way.kept == 7864
        assert all(low <= way.after[r][0] <= high for r, (low, high) in way.spread.items())
    steps, shares = selective.opened()
    assert steps[0] == 0 and steps[-1] == sweep_gates.STEPS
    assert set(shares) == {"q", "k", "v", "o", "gate", "up", "down"}
    assert all(len(values) == len(steps) for values in shares.values())
