"""How much memory does a training step of LoRA and DoRA take at its peak, beside peft's?

    python -m benchmarks.step_memory [--device cuda] [--out results.json]

Counted is what tensors allocate in a step, whatever for: "beyond" what lay there before (weights
and the optimizer's states, the same in both libraries), and "in all".
"""

from collections.abc import Iterator

from benchmarks.adapters import LORA, pair
from benchmarks.memory import Peak, held_by, peak
from benchmarks.models import LARGE, SMALL, Size, Step
from benchmarks.record import Options, Row, counted, main

METHODS = {"LoRA": ({}, 1.00), "DoRA": ({"use_dora": True}, 0.80)}


def peaks(options: Options, size: Size, **fields: bool) -> tuple[Peak, Peak]:
    """Ours and peft's, in the same process, one after the other."""
    found = []
    for model in pair(options.place.twins(size), **LORA, **fields):
        step = Step(model, options.place.tokens(size))
        step()  # AdamW makes its states
        found.append(peak(step, held_by(model, step.optimizer), options.device))
    return tuple(found)


def rows(options: Options) -> Iterator[Row]:
    """Each size and method against peft."""
    for size in options.sizes(SMALL, LARGE):
        for method, (fields, at_most) in METHODS.items():
            ours, theirs = peaks(options, size, **fields)
            what = f"{method} step's peak memory"
            for part, a, b in (
                ("beyond the weights", ours.beyond, theirs.beyond),
                ("in all", ours.total, theirs.total),
            ):
                yield counted(f"{what} {part}, {size}", a, b, "peft", at_most, None)


if __name__ == "__main__":
    main("step_memory", rows, __doc__)
