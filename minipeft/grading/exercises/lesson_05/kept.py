"""Task 2: what autograd keeps of a chain of layers for its backward pass."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case


def kept(rows, layers, **wrong):
    """Bytes in fp32 of what a backward pass will read, parameters left out.

    linear: its input, if its weight is trained. lora: its input for A, and A x for B. silu: its
    input, if anything below is trained.
    """
    numbers, below = 0, "silu_always" in wrong
    for layer in layers:
        x = rows * (layer["d_out"] if "outputs" in wrong else layer["d_in"])
        if layer["kind"] == "silu":
            numbers += x if below and "trained_only" not in wrong else 0
        elif layer["kind"] == "lora":
            numbers += x + (0 if "without_Ax" in wrong else rows * layer["r"])
            numbers += x if "base_too" in wrong else 0
            below = True
        else:
            frozen = below if "frozen_above" in wrong else "frozen_too" in wrong
            numbers += x if layer["trained"] or frozen else 0
            below = below or layer["trained"]
    return wrong.get("each", 4) * numbers


def mlp(generator: np.random.Generator, kinds: str) -> list[dict]:
    """A chain with SiLUs between its layers: T trained, F frozen, L with LoRA."""
    sizes = [8 * int(generator.integers(3, 40)) for _ in range(len(kinds) + 1)]
    while len(set(sizes)) < len(sizes):
        sizes = [8 * int(generator.integers(3, 40)) for _ in sizes]
    layers = []
    for number, kind in enumerate(kinds):
        shape = {"d_in": sizes[number], "d_out": sizes[number + 1]}
        if kind == "L":
            layers.append({"kind": "lora", **shape, "r": int(generator.integers(2, 8))})
        else:
            layers.append({"kind": "linear", **shape, "trained": kind == "T"})
        layers.append({"kind": "silu", "d_in": shape["d_out"], "d_out": shape["d_out"]})
    return layers


FULL, LORA, LAST, FIRST = "full fine-tuning", "LoRA everywhere", "the last layer", "a frozen base"


def cases(generator: np.random.Generator) -> Cases:
    """All trained; LoRA in all, in the last, in the first; the last layer; nothing."""
    kinds = ("TTT", "LLL", "FFL", "LFF", "FFT", "FFF")
    return [[int(generator.integers(5, 60)), mlp(generator, chain)] for chain in kinds]


KEPT = Task(
    name="kept_bytes",
    title="2. What backward keeps",
    points=4,
    cases=cases,
    answer=kept,
    parts=by_case(FULL, LORA, LAST, LORA, LAST, FIRST),
    weights={LORA: 2},
    trivial=[lambda rows, layers: 0],
    misconceptions=[
        Misconception(
            partial(kept, trained_only=True),
            "You keep inputs of trained layers alone. The gradient passes through every SiLU above "
            "the lowest trained layer, and a SiLU's gradient needs its input.",
        ),
        Misconception(
            partial(kept, frozen_too=True, silu_always=True),
            "You keep every layer's input. A frozen linear layer passes a gradient on with its "
            "weight alone, and below the lowest trained layer nobody asks for one.",
        ),
        Misconception(
            partial(kept, silu_always=True),
            "You keep the inputs of SiLUs that lie below the lowest trained layer. No gradient goes "
            "down there, so autograd keeps nothing.",
        ),
        Misconception(
            partial(kept, frozen_above=True),
            "You keep the input of frozen linear layers. Only the gradient of their weight would "
            "read it, and there is none.",
        ),
        Misconception(
            partial(kept, without_Ax=True),
            "You forget A x, the narrow tensor between A and B: the gradient of B reads it.",
        ),
        Misconception(
            partial(kept, base_too=True),
            "You count the input of a layer with LoRA twice. Its frozen weight does not need it, "
            "and A needs it once.",
        ),
        Misconception(
            partial(kept, outputs=True),
            "You count what comes out of a layer. Its gradient reads what went in: take d_in.",
        ),
        Misconception(
            partial(kept, each=1),
            "That is how many numbers are kept. Asked for are bytes, 4 for each number in fp32.",
        ),
    ],
    why="LoRA in all layers keeps every input that full fine-tuning keeps, and A x on top. What "
    "saves activations is where the lowest trained number lies, not how many there are.",
)
