"""What the scripts measure with: turns and ratios, peaks of memory, counts of theory."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.adapters import LORA, pair
from benchmarks.memory import Peak, bytes_of, held_by, peak
from benchmarks.models import TINY, Place, Size, Step, check_same, frozen_base
from benchmarks.theory import forward_flops, saved_numbers, step_flops
from benchmarks.timing import Spread, interleaved, ratio


def test_everyone_runs_once_a_round_and_starts_in_turn():
    calls = []
    contenders = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = interleaved(contenders, seconds=0, rounds=(3, 9), between=lambda: calls.append("-"))
    assert calls[::2] == ["-"] * (len(calls) // 2)
    rounds = ["".join(calls[1::2][start : start + 3]) for start in range(0, 15, 3)]
    assert rounds == ["bca", "cab", "abc", "bca", "cab"]  # two of them to warm up
    assert {name: len(spent) for name, spent in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_ratios_are_taken_within_a_round():
    """A busy round slows both: no ratio of medians would be 0.5 here."""
    times = {"ours": [1.0, 10.0, 3.0], "peft": [2.0, 20.0, 6.0]}
    assert ratio(times, "ours", "peft") == Spread(0.5, 0.5, 0.5)


def test_spread_is_numpys_quartiles():
    values = torch.rand(11, generator=torch.Generator().manual_seed(0)).tolist()
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    spread = Spread.of(values)
    assert (spread.low, spread.median, spread.high) == pytest.approx((low, median, high))
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)


class FakeCuda:
    """An event clock that moves by 5 ms in each call, and an allocator's counters."""

    now, allocated, highest = 0.0, 1000, 1000

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = FakeCuda.now

        def elapsed_time(self, other):
            return other.at - self.at


def test_a_gpu_is_timed_by_its_own_events(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", FakeCuda.Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)

    def call():
        FakeCuda.now += 5

    times = interleaved({"a": call}, "cuda", seconds=0, rounds=(2, 2))
    assert times == {"a": [0.005, 0.005]}


def test_a_gpus_peak_is_its_allocators(monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 1000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 1700)
    assert peak(lambda: None, [torch.zeros(10)], "cuda") == Peak(40, 700)


def test_the_peak_of_a_known_call():
    x = torch.zeros(1000, requires_grad=True)  # 4000 bytes

    def call():
        y = x * 2  # one more
        z = y.exp()  # two, of which exp saves z
        del y
        (z + z.detach()).sum().backward()  # three; then gradients
        x.grad = None

    call()
    found = peak(call, [x, x.view(10, 100)])
    assert found.lying == 4000
    assert 12_000 <= found.beyond <= 12_200


def test_what_a_call_releases_makes_room():
    """A buffer that every call makes anew, in place of the last one."""
    kept = {}

    def call():
        kept["buffer"] = None
        kept["buffer"] = torch.ones(1000)

    call()
    assert peak(call, []).beyond <= 100


def test_shared_memory_counts_once():
    x = torch.zeros(100)
    layer = torch.nn.Linear(3, 5)
    assert bytes_of([x, x[:10], x.T]) == 400
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(3)).sum().backward()
    optimizer.step()
    held = list(held_by(layer, optimizer))
    assert bytes_of(held) >= 4 * 3 * (15 + 5)  # parameters and two states of each


@pytest.fixture
def steps():
    place, size = Place(), Size(64, 2, 3, 32, vocabulary=128)
    return size, [Step(model, place.tokens(size)) for model in pair(place.twins(size), **LORA)]


def test_both_libraries_have_the_same_adapter(steps):
    _, (ours, theirs) = steps
    check_same(ours, theirs, torch.float32)
    next(p for p in ours.trained).data.add_(1.0)
    with pytest.raises(RuntimeError, match="differ"):
        check_same(ours, theirs, torch.float32)


@pytest.mark.parametrize("backward", [False, True])
def test_flops_are_those_that_torch_counts(backward, steps):
    """In peft's model; attention apart, whose halves torch counts in full."""
    size, (_, theirs) = steps
    with FlopCounterMode(display=False) as counter:
        theirs() if backward else theirs.loss()
    counted = counter.get_flop_counts()["Global"]
    products = sum(counted[op] for op in counted if "mm" in str(op))
    attention = 2 * size.batch * size.length**2 * size.layers * size.width
    theory = step_flops(size, 8) - 3 * attention if backward else forward_flops(size, 8) - attention
    assert products == pytest.approx(theory, rel=1e-4)


def test_saved_bytes_are_what_peft_takes(steps):
    size, (_, theirs) = steps
    theirs()
    measured = peak(theirs, held_by(theirs.model, theirs.optimizer)).beyond
    assert measured == pytest.approx(4 * saved_numbers(size, LORA["r"]), rel=0.05)


def test_the_floor_trains_nothing_and_reaches_every_layer():
    model = frozen_base(Place().llama(TINY))
    reached = []
    for layer in model.model.layers:
        layer.register_full_backward_hook(lambda *found: reached.append(found[2][0] is not None))
    step = Step(model, Place().tokens(TINY))
    step()
    assert step.trained == [] and step.optimizer is None and reached == [True, True]
