"""Times that can be compared: the contenders take turns, so a busy moment hits all of them alike.

In each round everyone runs once, starting with another one each time. Ratios are taken within a
round, between neighbours in time, and the median and quartiles of these are told.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

Contenders = dict[str, Callable[[], object]]
Times = dict[str, list[float]]  # seconds by contender, one for each round

WARM_UP = 2  # rounds that nobody counts: allocators, caches and lazy set-up


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


def interleaved(
    contenders: Contenders,
    device: str = "cpu",
    seconds: float = 20.0,
    rounds: tuple[int, int] = (7, 200),
    between: Callable[[], object] | None = None,
) -> Times:
    """Run all contenders in turn until `seconds` are over, within the least and most rounds.

    between: called before each run, outside the clock.
    """
    names, clock = list(contenders), clock_for(device)
    times: Times = {name: [] for name in names}
    with quiet_memory():
        for number in range(-WARM_UP, rounds[1]):
            if number == 0:
                began = time.perf_counter()
            if number >= rounds[0] and time.perf_counter() - began > seconds:
                break
            gc.collect()
            first = number % len(names)
            for name in names[first:] + names[:first]:
                if between is not None:
                    between()
                spent = clock(contenders[name])
                if number >= 0:
                    times[name].append(spent)
    return times


def ratio(times: Times, ours: str, other: str, beyond: str | None = None) -> Spread:
    """ours / other in each round; with `beyond`, after that contender's time is taken off both."""
    bare = times[beyond] if beyond else [0.0] * len(times[ours])
    rows = zip(times[ours], times[other], bare, strict=True)
    return Spread.of([(a - c) / (b - c) for a, b, c in rows])


def clock_for(device: str) -> Callable[[Callable[[], object]], float]:
    """What times one call, in seconds: CUDA events on a GPU, the processor's clock elsewhere."""
    return cuda_clock if torch.device(device).type == "cuda" else wall_clock


def wall_clock(call: Callable[[], object]) -> float:
    """From the call to its return."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def cuda_clock(call: Callable[[], object]) -> float:
    """From an idle GPU to the end of all that the call has queued."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000  # milliseconds


@contextmanager
def quiet_memory() -> Iterator[None]:
    """No garbage collection inside a timed call, as in Python's own timeit; quick ones between."""
    gc.collect()
    gc.freeze()  # what is there already needn't be looked through again
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
