"""How long is a LoRA training step, beside peft's, full fine-tuning's, and the floor?

    python -m benchmarks.lora_step [--device cuda] [--out results.json]

Full fine-tuning multiplies with each weight three times: for h, for dx and for dW. Where W is
frozen dW falls away, so two thirds are the floor; AdamW, which full fine-tuning spends on every
weight, comes on top. The frozen base is the same floor, measured: gradients pass through all
layers, and nothing is trained.
"""

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.adapters import LORA, pair
from benchmarks.models import LARGE, SMALL, Step, check_same, frozen_base
from benchmarks.record import Options, Row, main, timed

WIDE = replace(LARGE, width=4096, batch=4, length=512)  # for a GPU, where LARGE is small
FULL, FULL_PRODUCTS, FLOOR = "full fine-tuning", "full fine-tuning without AdamW", "frozen base"


def rows(options: Options) -> Iterator[Row]:
    """Each size against peft; the large ones also against full fine-tuning and the floor."""
    sizes = options.sizes(SMALL, LARGE, WIDE) if options.cuda else options.sizes(SMALL, LARGE)
    for size in sizes:
        place, tokens = options.place, options.place.tokens(size)
        ours, theirs = (Step(model, tokens) for model in pair(place.twins(size), **LORA))
        check_same(ours, theirs, options.dtype)
        steps = {"ours": ours, "peft": theirs}
        if size != SMALL:
            steps |= {
                "ours without AdamW": Step(pair(place.twins(size), **LORA)[0], tokens, False),
                FULL: Step(place.llama(size), tokens),
                FULL_PRODUCTS: Step(place.llama(size), tokens, False),
                FLOOR: Step(frozen_base(place.llama(size)), tokens),
            }
        times, what = options.turns(steps), f"LoRA step, {size}"
        yield timed(what, times, "peft", *((0.92, 0.80) if size == SMALL else (0.98, 0.96)))
        if size != SMALL:
            yield timed(what, times, FULL, 0.70, 0.67)
            yield timed(what, times, FULL_PRODUCTS, ours="ours without AdamW")
            yield timed(what, times, FLOOR, 1.05 if size == WIDE else None)


if __name__ == "__main__":
    main("lora_step", rows, __doc__)
