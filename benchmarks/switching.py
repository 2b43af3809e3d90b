"""How long does it take to put another of 50 adapters in force, beside peft's `set_adapter`?

    python -m benchmarks.switching [--device cuda] [--out results.json]

minipeft moves references to whole layers; peft sets a name in each layer and walks over every
parameter of every adapter, to set which ones are trained.
"""

from collections.abc import Callable, Iterator
from itertools import cycle

from torch import nn

from benchmarks.adapters import LORA, several
from benchmarks.models import SMALL
from benchmarks.record import Options, Row, main, timed

ADAPTERS = 50


def switcher(model: nn.Module, names: list[str]) -> Callable[[], None]:
    """A call that puts the next adapter but six in force: never the one that is."""
    order = cycle(names[number * 7 % len(names)] for number in range(len(names)))
    return lambda: model.set_adapter(next(order))


def rows(options: Options) -> Iterator[Row]:
    """Switching, all adapters of one shape."""
    (size,) = options.sizes(SMALL)
    names = [f"adapter{number}" for number in range(3 if options.tiny else ADAPTERS)]
    ours, theirs = several(options.place.twins(size), names, **LORA)
    times = options.turns({"ours": switcher(ours, names), "peft": switcher(theirs, names)})
    what = f"Switch among {len(names)} adapters, {size.model}"
    yield timed(what, times, "peft", 0.10, 0.02)


if __name__ == "__main__":
    main("switching", rows, __doc__)
