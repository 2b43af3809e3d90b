"""What do many adapters in one batch cost, beyond the bare base, beside peft's `adapter_names`?

    python -m benchmarks.mixed_batches [--device cuda] [--out results.json]

minipeft gives each sample its own A and B in two batched products; peft loops over the adapters of
the batch, in each layer. "New names" asks for other adapters, in another order, in each call, as a
server would: minipeft then has to gather A and B anew.
"""

import random
from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from benchmarks.adapters import LORA, several
from benchmarks.models import LARGE, SMALL, Forward, Size
from benchmarks.record import Options, Row, main, timed

SAMPLES, ADAPTERS = 32, 16
SIZES = replace(SMALL, batch=SAMPLES), replace(LARGE, batch=SAMPLES, length=16)


class Shuffled(Forward):
    """The same forward pass with the names in another order in each call."""

    def __call__(self):
        random.shuffle(self.options["adapter_names"])
        return super().__call__()


def rows(options: Options) -> Iterator[Row]:
    """A batch of 32 over 16 adapters; on a GPU also one of 64 over 64, beside one adapter."""
    for size in options.sizes(*SIZES):
        yield from beyond_the_base(options, size)
    if options.cuda:
        yield from against_one(options, *options.sizes(replace(LARGE, batch=64)))


def beyond_the_base(options: Options, size: Size) -> Iterator[Row]:
    """Ours and peft's time, less the bare base's."""
    place, tokens = options.place, options.place.tokens(size)
    ours, theirs, names = mixed_models(options, size, min(ADAPTERS, size.batch))
    other, _, _ = mixed_models(options, size, len(names))  # a model remembers one mixture
    given = [names[sample % len(names)] for sample in range(size.batch)]
    random.seed(0)
    times = options.turns(
        {"bare base": Forward(place.llama(size), tokens)}
        | {"ours": Forward(ours, tokens, adapter_names=given)}
        | {"ours, new names": Shuffled(other, tokens, adapter_names=given[:])}
        | {"peft": Forward(theirs, tokens, adapter_names=given)}
    )
    what = f"{size.batch} samples over {len(names)} adapters, beyond the base, {size}"
    for way, ours in ((what, "ours"), (f"{what}, new names", "ours, new names")):
        yield timed(way, times, "peft", 0.45, 0.25, ours=ours, beyond="bare base")


def against_one(options: Options, size: Size) -> Iterator[Row]:
    """As many adapters as samples, beside a batch through one adapter."""
    tokens = options.place.tokens(size)
    ours, _, names = mixed_models(options, size, size.batch)
    times = options.turns(
        {"ours": Forward(ours, tokens, adapter_names=names), "one adapter": Forward(ours, tokens)}
    )
    yield timed(f"{len(names)} adapters in a batch, {size}", times, "one adapter", 1.5)


def mixed_models(
    options: Options, size: Size, adapters: int
) -> tuple[nn.Module, nn.Module, list[str]]:
    """Both libraries' models with so many adapters, and the names of these."""
    names = [f"adapter{number}" for number in range(adapters)]
    return *several(options.place.twins(size), names, **LORA), names


if __name__ == "__main__":
    main("mixed_batches", rows, __doc__)
