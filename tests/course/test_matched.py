"""Lesson 15: equal numbers are equal, and the recorded runs are those that the script makes."""

import json

import pytest
import torch

from minipeft.course.base import DATA, load_base
from minipeft.course.lessons import matched, matched_costs
from minipeft.course.tasks import task
from scripts import choosing_costs, sweep_choosing

POINTS = [(budget, method) for budget, methods in matched.BUDGETS.items() for method in methods]
SIZED = [(budget, method) for budget, method in POINTS if callable(matched.BUDGETS[budget][method])]
SIZES = ("r", "bottleneck_size", "num_virtual_tokens")


def shipped():
    return json.loads((DATA / "choosing.json").read_text(encoding="utf-8"))["runs"]


@pytest.mark.parametrize(("budget", "method"), SIZED)
def test_no_neighbouring_size_comes_nearer_to_the_budget(budget, method):
    config, sized = matched.config_for(method, budget), matched.BUDGETS[budget][method]
    size = next(getattr(config, name) for name in SIZES if getattr(config, name, None))
    off = abs(matched.trained(config) - budget)
    for other in (size - 1, size + 1):
        assert other < 1 or abs(matched.trained(sized(other)) - budget) >= off


@pytest.mark.parametrize(("budget", "method"), POINTS)
def test_counts_are_those_of_the_recorded_runs(budget, method):
    counted = matched.trained(matched.config_for(method, budget))
    assert {run["trained"] for run in matched.runs_of(budget, method)} == {counted}
    if callable(matched.BUDGETS[budget][method]):
        assert abs(counted / budget - 1) < 0.1


def test_every_run_that_the_script_would_make_is_there_once():
    wanted, found = list(sweep_choosing.wanted()), shipped()
    assert len(found) == len(wanted)
    assert all(sum(asked.items() <= run.items() for run in found) == 1 for asked in wanted)
    assert all(point.seeds == 3 for point in matched.compared())


def test_the_script_has_rates_for_all_and_chooses_by_validation_texts():
    rates = {b: set(methods) for b, methods in sweep_choosing.RATES.items() if b}
    assert rates == {b: set(methods) for b, methods in matched.BUDGETS.items()}
    assert set(sweep_choosing.RATES[None]) == set(matched.BESIDE)
    for point in matched.compared():
        first = [r for r in matched.runs_of(point.budget, point.method) if r["seed"] == 0]
        least = min(run["validation"] for run in first)
        (chosen,) = [run for run in first if run["rate"] == point.rate]
        assert chosen["validation"] == least


@pytest.mark.parametrize(("budget", "method"), [(2_560, "norms"), (108_544, "LoRA+")])
def test_a_run_has_the_shape_of_the_recorded_ones(budget, method, monkeypatch):
    monkeypatch.setattr(sweep_choosing, "STEPS", 1)
    rate = matched.chosen_rate(budget, method)
    made = sweep_choosing.run(budget, method, rate, seed=0)
    found = next(r for r in matched.runs_of(budget, method) if (r["rate"], r["seed"]) == (rate, 0))
    assert made.keys() == found.keys() and made["trained"] == found["trained"]
    assert made["learned"] > found["learned"]


def test_validation_texts_are_a_draw_of_their_own_from_a_small_grammar():
    tested, shared = matched.shared_texts(0)
    drawn = [task(matched.TASK, seed=s, batches=1, batch_size=8) for s in (0, matched.VALIDATION)]
    first, second = ([document.text for document in one.examples] for one in drawn)
    assert first != second and tested == len(set(first))
    assert shared == sum(text in set(second) for text in set(first)) < tested


def test_lora_plus_has_its_own_optimizer():
    model = matched.adapted("LoRA+", 108_544)
    optimizer = matched.optimizer_of("LoRA+", model, 1e-3)
    assert {group["lr"] for group in optimizer.param_groups if group["params"]} == {1e-3, 1.6e-2}
    assert matched.optimizer_of("LoRA", model, 1e-3) is None


@pytest.mark.parametrize("point", [("full", None), ("VeRA", 13_568), ("prefix", 2_560)])
def test_a_step_trains_what_the_method_trains(point):
    model = matched.adapted(*point)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    step = matched_costs.Step(model)
    with torch.no_grad():  # as where it is timed
        step(torch.arange(24).view(2, 12))
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved and moved <= {n for n, p in model.named_parameters() if p.requires_grad}


def test_bytes_and_times():
    numbers = sum(p.numel() for p in load_base()[0].parameters())
    assert matched_costs.file_bytes("full") == 4 * numbers
    assert matched_costs.file_bytes("VeRA", 13_568) > 10 * matched_costs.file_bytes("LoRA", 13_568)
    assert matched_costs.peak_bytes("full") > 16 * numbers
    for kind in ("step", "answer"):
        told = matched_costs.recorded_times(kind)
        assert set(told) == set(matched_costs.every().values())
        assert told["full", None] == pytest.approx(1, abs=0.1)


def test_times_are_measured_for_all(monkeypatch):
    monkeypatch.setattr(choosing_costs, "every", lambda: {"norms": ("norms", 2_560)})
    for kind in ("step", "answer"):
        (run,) = choosing_costs.measured(kind, rounds=3)
        assert run["low"] <= run["median"] <= run["high"] and run["method"] == "norms"


@pytest.mark.parametrize(("method", "budget"), [("LORA", 2_560), ("LoRA", 2_561)])
def test_what_is_not_there_is_one_clear_error(method, budget):
    with pytest.raises(ValueError, match=r"LoRA, q v|2560"):
        matched.config_for(method, budget)
