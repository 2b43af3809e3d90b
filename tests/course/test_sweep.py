"""The scripts of the recorded runs still make what is shipped, as far as one step can tell."""

import json

import pytest

from minipeft.course.base import DATA
from minipeft.course.lessons import recorded
from scripts import sweep, sweep_answers, sweep_scratch

RECORDED = json.loads((DATA / "learning_and_forgetting.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", sweep.RATES)
def test_a_run_has_the_shape_of_the_recorded_ones(method, monkeypatch):
    monkeypatch.setattr(sweep, "STEPS", 1)
    rate = sweep.RATES[method][0]
    made = sweep.run("pirate", method, rate, seed=0)
    same = {"task": "pirate", "method": method, "rate": rate, "seed": 0}
    (shipped,) = [run for run in RECORDED["runs"] if same.items() <= run.items()]
    assert made.keys() == shipped.keys()
    for key in ("trained", "floor", "own_floor"):
        assert made[key] == shipped[key]
    assert made["loss"] > shipped["loss"] and 0 < made["size"] < shipped["size"]


def test_every_run_that_the_script_would_make_is_there():
    assert (RECORDED["steps"], RECORDED["batch_size"]) == (sweep.STEPS, sweep.BATCH)
    rates = sum(len(rates) for rates in sweep.RATES.values())
    assert len(RECORDED["runs"]) == len(sweep.TASKS) * len(sweep.SEEDS) * rates


def shipped(name):
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("script", "name"), [(sweep_answers, "loss_over_answers"), (sweep_scratch, "from_scratch")]
)
def test_the_other_scripts_make_what_is_shipped(script, name, monkeypatch):
    wanted, found = script.wanted(), shipped(name)
    assert (found["steps"], found["batch_size"]) == (script.STEPS, script.BATCH)
    assert len(found["runs"]) == len(wanted)
    assert all(sum(w.items() <= run.items() for run in found["runs"]) == 1 for w in wanted)

    monkeypatch.setattr(script, "STEPS", 1)
    made = script.run(**wanted[0])
    (same,) = [run for run in found["runs"] if wanted[0].items() <= run.items()]
    assert made.keys() == same.keys()
    assert made["floor"] == same["floor"] and made["loss"] > same["loss"]


def test_an_interrupted_sweep_goes_on(tmp_path):
    asked = [{"rate": rate, "seed": seed} for rate in (0.1, 0.2) for seed in (0, 1)]
    made = []

    def make(rate, seed):
        made.append((rate, seed))
        return {"rate": rate, "seed": seed, "loss": rate + seed}

    sweep.fill(tmp_path / "runs.json", asked[:3], make, {"steps": 1})
    runs = sweep.fill(tmp_path / "runs.json", asked, make, {"steps": 1})
    assert made == [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]
    assert json.loads((tmp_path / "runs.json").read_text()) == {"steps": 1, "runs": runs}


def test_lessons_get_the_methods_that_they_ask_for():
    assert list(recorded.learning_and_forgetting("pirate")) == ["lora", "full", "last block"]
    asked = ("norms", "head", "full")
    found = recorded.learning_and_forgetting("instruction", asked)
    assert tuple(found) == asked
    for points in found.values():
        rates = [point.rate for point in points]
        assert rates == sorted(rates)
        assert recorded.best(points).learned == min(point.learned for point in points)
        assert all(low <= p.learned <= high for p in points for low, high in [p.spread])


def test_a_best_rate_is_not_the_end_of_its_sweep():
    for task in sweep.TASKS:
        for method, points in recorded.learning_and_forgetting(task, tuple(sweep.RATES)).items():
            rates = [point.rate for point in points]
            assert recorded.best(points).rate not in (rates[0], rates[-1]), (task, method)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: recorded.learning_and_forgetting("pirat"), "'pirate'"),
        (lambda: recorded.learning_and_forgetting("pirate", ["norm"]), "'norms'"),
    ],
)
def test_what_was_not_swept_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_other_recorded_runs_are_means_of_three_seeds():
    for found in (recorded.loss_over_answers(), recorded.from_scratch()):
        for points in found.values():
            assert all(point.low <= point.mean <= point.high for point in points)
            best = min(points, key=lambda point: point.mean)
            assert best.rate not in (points[0].rate, points[-1].rate), "tuned inside its sweep"
            assert [p.rate for p in points] == sorted(p.rate for p in points)
