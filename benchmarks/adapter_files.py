"""How long does it take to save an adapter and to load it, beside peft?

    python -m benchmarks.adapter_files [--device cuda] [--out results.json]

Both write the same two files (peft a model card, too); minipeft waits until the disk has them, so
that a crash leaves the old or the new ones. Loading adds one more adapter to a model.
"""

import tempfile
from collections.abc import Iterator
from itertools import count

import torch

from benchmarks.adapters import LORA, pair
from benchmarks.models import SMALL
from benchmarks.record import Options, Row, main, timed


def rows(options: Options) -> Iterator[Row]:
    """Saving into a new folder and over the last file, then loading."""
    (size,) = options.sizes(SMALL)
    models = dict(zip(("ours", "peft"), pair(options.place.twins(size), **LORA), strict=True))
    what = f"an adapter, r=8, {size.model}"
    number = count()
    with tempfile.TemporaryDirectory() as folder:
        new = {n: lambda n=n: models[n].save_pretrained(f"{folder}/{next(number)}") for n in models}
        yield timed(f"Save {what}, in a new folder", options.turns(new), "peft", 1.00, 0.50)
        old = {n: lambda n=n: models[n].save_pretrained(f"{folder}/{n}") for n in models}
        yield timed(f"Save {what}, over the last one", options.turns(old), "peft", 1.00, 0.50)
        loads = {n: lambda n=n: models[n].load_adapter(f"{folder}/{n}", "other") for n in models}
        times = options.turns(loads, between=lambda: forget(models))
        yield timed(f"Load {what}", times, "peft", 1.00, 0.50)


def forget(models: dict[str, torch.nn.Module]) -> None:
    """Delete the adapter that the last call has loaded."""
    for model in models.values():
        if "other" in model.peft_config:
            model.delete_adapter("other")


if __name__ == "__main__":
    main("adapter_files", rows, __doc__)
