"""How long is a DoRA training step, beside peft's, and beside a LoRA step?

    python -m benchmarks.dora_step [--device cuda] [--out results.json]

DoRA needs ||W0 + s B A|| of each row. peft makes that dense sum for the norm, then multiplies with
W0, A and B one by one; here the dense sum is what x is multiplied with.
"""

from collections.abc import Iterator

from benchmarks.adapters import LORA, pair
from benchmarks.models import LARGE, SMALL, Step, check_same
from benchmarks.record import Options, Row, main, timed


def rows(options: Options) -> Iterator[Row]:
    """Each size against peft's DoRA and our LoRA."""
    for size in options.sizes(SMALL, LARGE):
        tokens = options.place.tokens(size)
        bases = options.place.twins(size)
        ours, theirs = (Step(model, tokens) for model in pair(bases, use_dora=True, **LORA))
        check_same(ours, theirs, options.dtype)
        lora = Step(pair(bases, **LORA)[0], tokens)
        times = options.turns({"ours": ours, "peft DoRA": theirs, "our LoRA": lora})
        yield timed(f"DoRA step, {size}", times, "peft DoRA", 0.70, 0.60)
        yield timed(f"DoRA step, {size}", times, "our LoRA", 1.20, 1.08)


if __name__ == "__main__":
    main("dora_step", rows, __doc__)
