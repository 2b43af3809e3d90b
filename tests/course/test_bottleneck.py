"""What lesson 07 measures of adapters, against scikit-learn and the equation."""

import copy
import json

import matplotlib.pyplot as plt
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import nn

from minipeft.course.base import DATA, load_base
from minipeft.course.lab.pictures import lesson_07 as pictures
from minipeft.course.lessons import bottleneck, latency
from minipeft.course.lessons.recorded import learning_and_forgetting
from minipeft.course.tasks import task
from scripts import sweep_adapters

RECORDED = json.loads((DATA / "adapters.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def texts():
    return task("instruction", batches=6, test_batches=1, batch_size=8).train


def used(method, std=0.05):
    """A model whose adapters do something, as if they had been trained."""
    torch.manual_seed(0)
    model = bottleneck.adapted(method)
    for adapter in bottleneck.adapters_of(model).values():
        for p in adapter.parameters():
            nn.init.normal_(p, std=std)
    return model.eval()


@pytest.mark.parametrize("method", bottleneck.METHODS)
def test_every_method_starts_as_the_base_with_the_budget_of_the_lora(method, texts):
    model = bottleneck.adapted(method)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert abs(trained / 108_544 - 1) < 0.01
    assert torch.equal(model(texts[0].input_ids), load_base()[0](texts[0].input_ids))


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="'series' is not known; choose from 'houlsby'"):
        bottleneck.adapted("series")


@pytest.mark.parametrize("method", ["houlsby", "pfeiffer", "parallel"])
def test_what_is_seen_is_what_the_adapters_did(method, texts):
    model = used(method)
    found = bottleneck.seen(model, texts[:2])
    tokens = sum(int((batch.labels != -100).sum()) for batch in texts[:2])
    last = list(found)[-1]
    outputs = []
    adapter = bottleneck.adapters_of(model)[last]
    hook = adapter.register_forward_hook(lambda module, given, gives: outputs.append(gives))
    with torch.no_grad():
        for batch in texts[:2]:
            model(batch.input_ids)
    hook.remove()
    counted = [out[batch.labels != -100] for out, batch in zip(outputs, texts, strict=False)]
    for one in found.values():
        assert len(one.z) == len(one.added) == len(one.h) == tokens
    torch.testing.assert_close(found[last].h + found[last].added, torch.cat(counted))
    down, up = adapter.adapter_down, adapter.adapter_up
    with torch.no_grad():
        again = adapter.scaling * up(adapter.act(down(found[last].z)))
    torch.testing.assert_close(found[last].added, again)
    assert not any(part._forward_hooks for part in (adapter, down)), "no hook may be left"


def test_the_bend_is_what_a_regression_leaves_over():
    torch.manual_seed(0)
    z = torch.randn(500, 12) + 3
    added = torch.relu(z @ torch.randn(12, 6)) @ torch.randn(6, 9)
    fitted = LinearRegression().fit(z.numpy(), added.numpy())
    rest = added.numpy() - fitted.predict(z.numpy())
    want = (rest**2).sum() / ((added.numpy() - added.numpy().mean(0)) ** 2).sum()
    found = bottleneck.bend(bottleneck.Seen(z, added, added))
    assert found == pytest.approx(want**0.5, rel=1e-4)
    copied = bottleneck.straight_copy(z, added)
    torch.testing.assert_close(copied.weight, torch.tensor(fitted.coef_), rtol=1e-3, atol=1e-4)


def test_a_straight_adapter_has_no_bend_and_its_copy_is_the_same(texts):
    model = used("parallel, straight", std=0.02)
    found = bottleneck.seen(model, texts)
    assert all(bottleneck.bend(one) < 1e-4 for one in found.values())
    before = model(texts[0].input_ids)
    copied = bottleneck.copied_straight(copy.deepcopy(model), texts)
    after = copied(texts[0].input_ids)
    assert (after - before).norm() < 1e-3 * before.norm()


def test_a_bent_one_has_some_and_its_copy_differs(texts):
    model = used("parallel")
    assert all(bottleneck.bend(one) > 0.01 for one in bottleneck.seen(model, texts).values())
    before = model(texts[0].input_ids)
    assert (bottleneck.copied_straight(model, texts)(texts[0].input_ids) - before).norm() > 1e-3


def test_a_start_has_the_spread_that_is_asked_for_and_is_cut():
    model = bottleneck.started_from(bottleneck.adapted("houlsby"), 0.1)
    for adapter in bottleneck.adapters_of(model).values():
        for matrix in (adapter.adapter_down.weight, adapter.adapter_up.weight):
            assert matrix.abs().max() < 0.2001
            assert matrix.std().item() == pytest.approx(
                0.088, abs=0.005
            )  # 0.1, cut at two deviations


def test_every_run_that_the_script_would_make_is_there():
    made = {(run["method"], run["rate"], run["seed"]) for run in RECORDED["runs"]}
    assert made == {
        (method, rate, seed)
        for method in sweep_adapters.METHODS
        for rate in sweep_adapters.RATES
        for seed in sweep_adapters.SEEDS
    }
    assert len(RECORDED["runs"]) == len(made)
    assert RECORDED["steps"] == sweep_adapters.STEPS


def test_a_run_has_the_shape_of_the_recorded_ones(monkeypatch):
    monkeypatch.setattr(sweep_adapters, "STEPS", 1)
    monkeypatch.setattr(sweep_adapters, "FITTED", 5)
    made = sweep_adapters.tuned("instruction", "parallel", 3e-3, 0)
    same = {"method": "parallel", "rate": 3e-3, "seed": 0}
    (shipped,) = [run for run in RECORDED["runs"] if same.items() <= run.items()]
    assert made.keys() == shipped.keys()
    assert all(made[key] == shipped[key] for key in ("trained", "floor", "own_floor"))
    assert made["loss"] > shipped["loss"] and 0 < made["added"] < shipped["added"]


def test_means_are_over_the_seeds():
    runs = bottleneck.adapters_by_rate("instruction")
    for method, points in runs.items():
        assert [p.rate for p in points] == list(sweep_adapters.RATES)
        for point in points:
            assert point.method == method
            assert point.spread[0] <= point.learned <= point.spread[1]
    same = [r for r in RECORDED["runs"] if (r["method"], r["rate"]) == ("parallel", 1e-2)]
    want = sum(run["loss"] - run["floor"] for run in same) / 3
    found = next(p for p in runs["parallel"] if p.rate == 1e-2)
    assert found.learned == pytest.approx(want)
    assert f"{want:.2f}" in str(found) and "108,568" in str(found)
    with pytest.raises(ValueError, match="task='pirate' is not known"):
        bottleneck.adapters_by_rate("pirate")


def test_the_pictures_tell_their_numbers():
    runs = bottleneck.adapters_by_rate("instruction")
    others = learning_and_forgetting("instruction", ("lora", "full"))
    _, alt, data = pictures.learned_picture(runs, others, (0.1, 2.0))
    best = min(runs["parallel"], key=lambda point: point.learned)
    assert f"parallel {best.learned:.2f} and {best.forgotten:.2f}" in alt
    assert data["parallel, own"] == [point.forgotten for point in runs["parallel"]]
    _, alt, data = pictures.bend_picture(runs, 0.1)
    assert "parallel misses" in alt and "copies, parallel" in data
    _, alt, _ = pictures.places_picture({"houlsby": 27_334, "parallel": 27_142})
    assert "houlsby two, reading h, 27,334 numbers" in alt


@pytest.mark.parametrize("setup", pictures.SETUPS)
def test_the_widget_tells_the_recorded_medians(setup):
    _, measured = latency.recorded("192 wide", 1)
    _, alt, data = pictures.latency_picture(measured, setup, 1.06, "a title")
    assert data[setup] == [point.median for point in measured[setup].values()]
    assert f"{data[setup][0]:.2f} at 1" in alt and "1.06" in alt
