"""Latencies are ratios within a round; what is recorded is what the script measures."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from minipeft.budget.count import count_parameters
from minipeft.course.base import DATA, load_base
from minipeft.course.lessons import latency
from scripts import latency as script

TOKEN = torch.ones(1, 1, dtype=torch.long)


class FakeClock:
    """A clock that only its models move; `busy` slows everything down, round by round."""

    def __init__(self, busy=lambda number: 1.0):
        self.time, self.calls, self.busy = 0.0, 0, busy

    def model(self, seconds):
        def run(input_ids):
            self.time += seconds * self.busy(self.calls // 3)
            self.calls += 1

        return run

    def __call__(self):
        return self.time


@pytest.mark.parametrize("busy", [lambda number: 1.0, lambda number: 1.0 + number % 7])
def test_a_busy_moment_changes_no_ratio(busy):
    clock = FakeClock(busy)
    models = {"base": clock.model(2.0), "half": clock.model(1.0), "triple": clock.model(6.0)}
    found = latency.slowdowns(models, TOKEN, rounds=9, now=clock)
    assert list(found) == ["half", "triple"]
    for name, ratio in {"half": 0.5, "triple": 3.0}.items():
        assert found[name].low == found[name].median == found[name].high == pytest.approx(ratio)


def test_a_single_slow_round_moves_no_median():
    clock = FakeClock()
    slow = iter([1.0] * 5 + [50.0] + [1.0] * 20)

    def hiccup(input_ids):
        clock.time += next(slow)

    found = latency.slowdowns({"base": clock.model(1.0), "a": hiccup}, TOKEN, rounds=9, now=clock)
    assert found["a"].median == pytest.approx(1.0)


def test_the_clock_goes_forward_and_does_not_count_sleep():
    now = latency.clock()
    began = now()
    sum(range(10**5))
    assert now() > began


@pytest.mark.parametrize("style", ["houlsby", "pfeiffer", "parallel"])
def test_adapters_are_as_wide_as_the_loras_budget_allows(style):
    model = load_base()[0]
    config, most = latency.setups(model)[style], count_parameters(model, latency.LORA).trainable
    assert count_parameters(model, config).trainable <= most
    config.bottleneck_size += 1
    assert count_parameters(model, config).trainable > most


def test_contenders_are_the_base_at_the_start_and_a_merged_lora_has_nothing_beside_it():
    models = latency.contenders()
    want = models["base"](TOKEN)
    for name, model in models.items():
        torch.testing.assert_close(model(TOKEN), want)
        with FlopCounterMode(display=False) as counter:
            model(TOKEN)
        if name in ("base", "LoRA, merged"):
            assert counter.get_total_flops() == flops(models["base"])


def flops(model):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(TOKEN)
    return counter.get_total_flops()


def test_multiplications_are_those_that_pytorch_counts():
    models, told = latency.contenders(), latency.multiplications("192 wide")
    base = flops(models["base"])
    for name in ("houlsby", "pfeiffer", "parallel", "LoRA, all", "LoRA, q and v", "LoRA, merged"):
        assert told[name] == pytest.approx(flops(models[name]) / base, abs=2e-3), name


def test_the_script_has_measured_every_point():
    shipped = json.loads((DATA / "latency.json").read_text(encoding="utf-8"))
    points = [(run["base"], run["length"], run["batch"]) for run in shipped["runs"]]
    assert points == [
        (base, length, batch)
        for base in latency.BASES
        for length in script.LENGTHS
        for batch in script.BATCHES
        if length * batch <= script.MOST[base]
    ]
    assert (shipped["threads"], shipped["rounds"]) == (1, script.ROUNDS)
    assert len({run["processor"] for run in shipped["runs"]}) == 1


def test_a_point_has_the_shape_of_the_recorded_ones(monkeypatch):
    monkeypatch.setattr(script, "ROUNDS", 3)
    made = script.measured("192 wide", 1, 1, latency.contenders())
    shipped = json.loads((DATA / "latency.json").read_text(encoding="utf-8"))["runs"][0]
    assert made.keys() == shipped.keys()
    assert made["slowdowns"].keys() == shipped["slowdowns"].keys()
    assert made["processor"] == script.processor() != ""


def test_what_is_recorded_is_ordered_and_reads_by_name():
    for base in latency.BASES:
        processor, found = latency.recorded(base, 1)
        assert processor and next(iter(found)) == "LoRA, merged"
        for points in found.values():
            assert list(points) == sorted(points)
            assert all(0.5 < p.low <= p.median <= p.high < 5 for p in points.values())
        assert all(0.8 < point.median < 1.2 for point in found["LoRA, merged"].values())


def test_what_was_not_measured_is_said_so():
    with pytest.raises(ValueError, match="'193 wide' is not known"):
        latency.recorded("193 wide", 1)
    with pytest.raises(ValueError, match="length=2 is not known"):
        latency.recorded("192 wide", 2)
    with pytest.raises(ValueError, match="choose from '192 wide', '768 wide'"):
        latency.contenders("wide")


def test_a_step_moves_what_is_trained_and_nothing_else():
    clock = FakeClock()
    models = {"all": torch.nn.Linear(3, 2), "bias": torch.nn.Linear(3, 2)}
    models["bias"].weight.requires_grad_(False)
    before = {name: model.weight.detach().clone() for name, model in models.items()}

    def loss(model):
        clock.time += {True: 4.0, False: 1.0}[model.weight.requires_grad]
        return model(torch.ones(1, 3)).square().sum()

    found = latency.training_steps(models, loss, unit="all", rounds=3, now=clock)
    assert found == {"bias": latency.Slowdown(median=0.25, low=0.25, high=0.25)}
    assert not torch.equal(models["all"].weight, before["all"])
    assert torch.equal(models["bias"].weight, before["bias"])
    assert all(p.grad is None for model in models.values() for p in model.parameters())
