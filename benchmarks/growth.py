"""How do time and memory of LoRA grow: with rank, width, depth, length, and number of adapters?

    python -m benchmarks.growth [--device cuda] [--out results.json]

One thing grows at a time, the others stay as in START. Theory is drawn beside: time is the counted
multiplications at the speed of a large product here, memory the counted bytes. It has nothing
fitted: what lies above it are the many small operations.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import peft
from torch import Tensor

import minipeft
from benchmarks.adapters import LORA, pair, several
from benchmarks.memory import bytes_of, held_by, peak
from benchmarks.mixed_batches import Shuffled
from benchmarks.models import TINY, Forward, Size, Step
from benchmarks.record import Options, main
from benchmarks.switching import switcher
from benchmarks.theory import (
    adapter_numbers,
    forward_flops,
    product_rate,
    saved_numbers,
    step_flops,
)
from benchmarks.timing import Spread

START, RANK = Size(256, 4, 4, 64), 8
RANKS = (1, 4, 16, 64, 256)
SIDES = {
    "width": (64, 128, 256, 512, 1024),
    "layers": (1, 2, 4, 8, 16),
    "length": (16, 32, 64, 128, 256, 512),
}
IN_BATCH, SAMPLES = (1, 2, 4, 8, 16, 32), 32
LOADED, LOADED_SIZE = (1, 5, 50, 500), Size(64, 2, 4, 64)
FEW = LORA | {"target_modules": ["q_proj", "v_proj"]}  # adding the 500th is slow enough in peft
SECONDS = 2.0  # for each point
ADAPTER_BYTES = 4  # of each number: adapters have 32 bits on any base


@dataclass(frozen=True)
class Point:
    """One point of the curves. seconds and bytes: "ours", "peft" and "theory"."""

    what: str
    grows: str
    value: int
    seconds: dict[str, float]
    bytes: dict[str, float]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {1000 * time:.2f} ms" for name, time in self.seconds.items())
        sizes = ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in self.bytes.items())
        return f"{self.what}, {self.grows} {self.value}: {times}; {sizes}"


def points(options: Options) -> Iterator[Point]:
    """All curves, point by point."""
    options = replace(options, seconds=min(options.seconds, SECONDS))
    rate = product_rate(options.device, options.dtype, 64 if options.tiny else 1024)
    if options.tiny:
        yield step(options, "rank", 2, TINY, 2, rate)
        yield from in_one_batch(options, (1, 2), TINY, rate)
        yield from loaded(options, (1, 2), TINY)
        return
    for rank in RANKS:
        yield step(options, "rank", rank, START, rank, rate)
    for side, values in SIDES.items():
        for value in values:
            yield step(options, side, value, replace(START, **{side: value}), RANK, rate)
    yield from in_one_batch(options, IN_BATCH, replace(START, batch=SAMPLES), rate)
    yield from loaded(options, LOADED, LOADED_SIZE)


def step(options: Options, grows: str, value: int, size: Size, rank: int, rate: float) -> Point:
    """A training step of LoRA, and its peak memory beyond the weights."""
    models = pair(options.place.twins(size), **LORA | {"r": rank})
    ours, theirs = (Step(model, options.place.tokens(size)) for model in models)
    calls = {"ours": ours, "peft": theirs}
    sizes = {
        name: peak(call, held_by(call.model, call.optimizer), options.device).beyond
        for name, call in calls.items()
    }
    sizes["theory"] = options.dtype.itemsize * saved_numbers(size, rank)
    seconds = medians(options, calls) | {"theory": step_flops(size, rank) / rate}
    return Point("training step", grows, value, seconds, sizes)


def in_one_batch(
    options: Options, counts: tuple[int, ...], size: Size, rate: float
) -> Iterator[Point]:
    """A forward pass whose samples go through so many adapters, other ones in each call."""
    names = [f"adapter{number}" for number in range(max(counts))]
    models = several(options.place.twins(size), names, **LORA)
    tokens = options.place.tokens(size)
    for count in counts:
        given = [names[sample % count] for sample in range(size.batch)]
        ours, theirs = (Shuffled(model, tokens, adapter_names=given[:]) for model in models)
        calls = {"ours": ours, "peft": theirs}
        sizes = {name: peak(call, [], options.device).beyond for name, call in calls.items()}
        sizes["theory"] = ADAPTER_BYTES * size.batch * adapter_numbers(size, RANK)
        seconds = medians(options, calls) | {"theory": forward_flops(size, RANK) / rate}
        yield Point("mixed forward", "adapters in the batch", count, seconds, sizes)


def loaded(options: Options, counts: tuple[int, ...], size: Size) -> Iterator[Point]:
    """With so many adapters at hand: to switch, and a forward pass through one."""
    tokens, names = options.place.tokens(size), [f"adapter{n}" for n in range(max(counts))]
    our_base, their_base = options.place.twins(size)()
    base = bytes_of(our_base.parameters())
    ours = minipeft.get_peft_model(our_base, minipeft.LoraConfig(**FEW), names[0])
    theirs = peft.get_peft_model(their_base, peft.LoraConfig(**FEW), names[0])
    each = bytes_of(theirs.parameters()) - base
    for count in counts:
        for name in names[len(ours.adapters) : count]:
            ours.add_adapter(name, minipeft.LoraConfig(**FEW))
            theirs.add_adapter(name, peft.LoraConfig(**FEW))
        sizes = {"ours": bytes_of(all_tensors(ours)), "peft": bytes_of(theirs.parameters())}
        sizes["theory"] = base + count * each
        calls = {"ours": switcher(ours, names[:count]), "peft": switcher(theirs, names[:count])}
        yield Point("switch", "adapters loaded", count, medians(options, calls), sizes)
        calls = {"ours": Forward(ours, tokens), "peft": Forward(theirs, tokens)}
        yield Point("forward", "adapters loaded", count, medians(options, calls), sizes)


def all_tensors(model: minipeft.PeftModel) -> Iterator[Tensor]:
    """Of the base and of every adapter: `parameters()` has only the one in force."""
    yield from model.parameters()
    for adapter in model.adapters.values():
        yield from (parameter for _, parameter in adapter.named_parameters())


def medians(options: Options, calls: dict[str, Callable]) -> dict[str, float]:
    """Median seconds of each, interleaved."""
    return {name: Spread.of(times).median for name, times in options.turns(calls).items()}


if __name__ == "__main__":
    main("growth", points, __doc__)
