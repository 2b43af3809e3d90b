"""Lesson 14's measures against planted answers, and its records against what was asked for."""

import math

import numpy as np
import pytest
import torch

from minipeft.course.lessons import frontier
from minipeft.course.lessons.frontier import (
    METHODS,
    Point,
    best_rate,
    by_distance,
    curves,
    forgotten_at,
    fresh,
    intruders,
    largest_cosines,
    merged,
    rank_of,
    spectra,
)
from minipeft.course.lessons.merging import matrices
from scripts import sweep_frontier


def point(rate: float, learned: float, forgotten: float) -> Point:
    """A point that was made up."""
    return Point(
        method="made up",
        rate=rate,
        trained=1,
        learned=learned,
        forgotten=forgotten,
        spread=(learned, learned),
        size=0.1,
        seeds=1,
        forgotten_spread=(forgotten, forgotten),
    )


@pytest.fixture
def W0() -> torch.Tensor:
    """A weight whose ten leading directions are the first ten axes: (out, in) = (40, 30)."""
    return torch.tensor(np.eye(40, 30) * range(30, 0, -1))


def test_a_weight_has_no_intruder_in_itself_or_in_its_negative(W0):
    for same in (W0, -W0, 3 * W0):
        assert intruders(W0, same) == 0
        torch.testing.assert_close(largest_cosines(W0, same), torch.ones(10, dtype=torch.double))


def test_directions_in_another_order_are_no_intruders(W0):
    """Compared with any of W0's directions, not with the one of equal index."""
    assert intruders(W0, W0 * torch.arange(1.0, 31).square()) == 0


@pytest.mark.parametrize("planted", [1, 3])
def test_planted_directions_are_counted(W0, planted):
    """Axes 31 and further are none of W0's 30 directions; each planted one leads."""
    W = W0.clone()
    for i in range(planted):
        W[30 + i, i] = 1000.0 + i
    assert intruders(W0, W) == planted
    assert intruders(W0, W, leading=1) == 1
    assert intruders(W0, W, leading=10, threshold=0.0) == 0


def test_intruders_agree_with_numpy(W0):
    torch.manual_seed(0)
    W0, W = torch.randn(24, 16), torch.randn(24, 16)
    U0, U = (np.linalg.svd(w.numpy().astype(float))[0][:, :16] for w in (W0, W))
    largest = np.abs(U0.T @ U[:, :7]).max(0)
    assert intruders(W0, W, 7, 0.5) == (largest < 0.5).sum()


def test_rank_at_90_percent():
    assert rank_of(torch.diag(torch.tensor([3.0, 1.0]))) == 1  # 9 of 10: exactly 90%
    assert rank_of(torch.diag(torch.tensor([2.9, 1.0]))) == 2
    assert rank_of(torch.eye(10)) == 9
    assert rank_of(torch.zeros(3, 3)) == 0
    assert rank_of(torch.randn(8, 1) @ torch.randn(1, 5)) == 1


def test_forgetting_at_equal_learning_lies_on_the_line_between_two_rates():
    """A power law is a straight line in logarithms, so that it is found exactly."""
    points = [point(rate, 0.01 / rate, 50 * rate**2) for rate in (0.01, 0.02, 0.04)]
    assert forgotten_at(points, 0.5) == pytest.approx(50 * 0.02**2)
    between = math.sqrt(0.5 * 1.0)
    assert forgotten_at(points, between) == pytest.approx(50 * (0.01 / between) ** 2)


def test_rates_above_the_best_are_left_out():
    points = [point(1e-3, 1.0, 0.1), point(1e-2, 0.1, 1.0), point(1e-1, 0.5, 9.0)]
    assert forgotten_at(points, 0.5) < 1
    assert forgotten_at(reversed(points), 0.5) == forgotten_at(points, 0.5)


@pytest.mark.parametrize("learned", [0.01, 2.0])
def test_what_was_not_reached_is_refused(learned):
    points = [point(1e-3, 1.0, 0.1), point(1e-2, 0.1, 1.0)]
    with pytest.raises(ValueError, match=rf"made up.*{learned}.*0\.100 to 1\.000"):
        forgotten_at(points, learned)


def test_the_best_rate_is_the_lowest_point_of_a_parabola():
    def bowl(rate):
        return math.exp(2 * math.log(rate / 3e-3) ** 2)

    points = [point(rate, bowl(rate), 1.0) for rate in (1e-3, 2e-3, 4e-3, 8e-3)]
    assert best_rate(points) == pytest.approx(3e-3)
    assert best_rate(points[2:]) == 4e-3, "the end of the grid is no lowest point"


def test_attention_by_distance():
    """Each token looks at the one before it, and the first at itself."""
    before = torch.zeros(1, 2, 6, 6)
    before[..., range(1, 6), range(5)] = 1
    before[..., 0, 0] = 1
    assert by_distance([before, before], longest=2) == [0, 1, 0]
    even = torch.ones(1, 1, 6, 6).tril() / torch.arange(1, 7.0)[:, None]
    assert by_distance([even], 3) == pytest.approx([(1 / 4 + 1 / 5 + 1 / 6) / 3] * 4)


def test_what_a_run_records_of_an_update():
    """An adapter of rank 2 has rank 2 or less in every matrix; an untouched base has nothing."""
    model = fresh("all, r = 12")
    W0 = matrices(fresh("full"))
    same = spectra(W0, W0)
    assert same["rank90"] == [0] * 7
    assert same["intruders"] == [0] * 7
    assert min(same["cosines"]) > 0.999
    for name, tensor in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(tensor)
    changed = spectra(W0, matrices(merged(model)))
    assert all(1 <= rank <= 12 for rank in changed["rank90"])
    assert sum(changed["intruders"]) > 0


def test_places_train_as_many_numbers():
    """Attention alone and the MLP alone, to the number; all layers within 4%."""
    counts = {
        name: sum(p.numel() for p in fresh(name).parameters() if p.requires_grad)
        for name in frontier.PLACES
    }
    attention, mlp, everywhere = (counts[name] for name in frontier.PLACES)
    assert attention == mlp
    assert 0.96 < everywhere / mlp < 1


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="lora, r = 4"):
        fresh("lora, r = 5")
    with pytest.raises(ValueError, match="recorded are"):
        curves("instruction", batch=7)


def test_every_run_that_is_recorded_was_asked_for():
    asked, runs = sweep_frontier.wanted(), frontier.recorded_runs("frontier")
    assert len(runs) == len(asked)
    for settings in asked:
        assert sum(settings.items() <= run.items() for run in runs) == 1, settings


def test_a_run_records_what_the_file_holds():
    """With one step in place of many; the floors do not depend on the training."""
    known = frontier.recorded_runs("frontier")[0]
    made = sweep_frontier.run("instruction", known["method"], 1e-4, batch=8, steps=1, seed=0)
    assert made.keys() == known.keys()
    for name in ("floor", "val_floor", "own_floor", "trained"):
        assert made[name] == pytest.approx(known[name], abs=1e-3)


def test_each_curve_has_three_seeds_where_it_learns_most():
    for method, points in frontier.frontier().items():
        assert min(points, key=lambda p: p.learned).seeds == 3, method
        assert [p.rate for p in points] == sorted(p.rate for p in points)


def test_no_run_is_counted_twice():
    """Some rates of full fine-tuning were recorded by two sweeps, with the same result."""
    keys = [(r["method"], r["rate"], r["seed"]) for r in frontier.runs_of()]
    assert len(keys) == len(set(keys))
    ours = {(r["rate"], r["seed"]): r["loss"] for r in frontier.runs_of() if r["method"] == "full"}
    for run in frontier.recorded_runs():
        if (run["task"], run["method"]) == ("instruction", "full"):
            assert run["loss"] == pytest.approx(ours[run["rate"], run["seed"]], abs=0.01)


def test_methods_and_records_have_the_same_names():
    assert {r["method"] for r in frontier.recorded_runs("frontier")} <= METHODS.keys()
