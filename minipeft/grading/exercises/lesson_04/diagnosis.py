"""Task 5, the bug zoo: counts that somebody printed, each with one mistake or none."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import every_twice, misnamed, one_name_for_all
from .asked import decoder
from .model import block_shapes

RIGHT = "right"
WIDE = "k and v as wide as q"
TIED = "tied table counted twice"
ALPHA = "alpha counted"
PACKED = "packed weights counted as half"
ONE_BLOCK = "one block only"
SPECIMENS = [RIGHT, WIDE, TIED, ALPHA, PACKED, ONE_BLOCK]
TARGETS = (["q_proj", "v_proj"], ["k_proj", "v_proj", "down_proj"], ["q_proj", "k_proj", "v_proj"])


def lora(shapes: dict, targets: list[str], r: int, layers: int) -> int:
    """What LoRA trains."""
    return layers * sum(r * sum(shapes[name]) for name in targets)


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one count with one mistake (or none)."""
    sizes = decoder(generator)
    layers, hidden, vocab = (sizes[n] for n in ("num_hidden_layers", "hidden_size", "vocab_size"))
    targets = TARGETS[generator.integers(len(TARGETS))]
    shapes = block_shapes(sizes, grouped=bug != WIDE)
    trained = lora(shapes, targets, sizes["r"], 1 if bug == ONE_BLOCK else layers)
    trained += layers * len(targets) if bug == ALPHA else 0
    right = block_shapes(sizes)
    inside = layers * sum(out * in_ for out, in_ in right.values())
    base = vocab * hidden * (2 if bug == TIED else 1) + (2 * layers + 1) * hidden
    base += inside // 2 if bug == PACKED else inside
    return {
        "layers": layers,
        "hidden": hidden,
        "vocab": vocab,
        "r": sizes["r"],
        "shapes": {name: list(shape) for name, shape in right.items()},
        "targets": list(targets),
        "trained": trained,
        "all": base + trained,
    }


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def diagnose(record: dict, blind_to: str | None = None, tables: int = 1) -> str:
    """What is wrong with the count; a wrong answer is one that is blind to some mistake."""
    layers, hidden, shapes = record["layers"], record["hidden"], record["shapes"]
    trained = lora(shapes, record["targets"], record["r"], layers)
    inside = layers * sum(out * in_ for out, in_ in shapes.values())
    base = tables * record["vocab"] * hidden + inside + (2 * layers + 1) * hidden
    more, rest = record["trained"] - trained, record["all"] - record["trained"]
    signs = {
        ONE_BLOCK: record["trained"] * layers == trained,
        ALPHA: more == layers * len(record["targets"]),
        WIDE: more > layers * len(record["targets"]),
        TIED: rest > base,
        PACKED: rest < base,
    }
    return next((bug for bug, sign in signs.items() if sign and bug != blind_to), RIGHT)


def all_alone(record: dict) -> str:
    """Never looks at the trained count."""
    found = diagnose(record)
    return found if found in (TIED, PACKED) else RIGHT


DIAGNOSE = Task(
    name="diagnose",
    title="5. The bug zoo",
    points=3,
    cases=cases,
    answer=diagnose,
    parts=by_answer,
    trivial=one_name_for_all(SPECIMENS),
    misconceptions=[
        Misconception(
            lambda record: RIGHT,
            "You call every count right. Work out both counts from the shapes and compare.",
        ),
        Misconception(
            partial(misnamed, diagnose, {TIED: RIGHT, PACKED: RIGHT}),
            "You never look at `all`. What is left of it without `trained` must be the base.",
        ),
        Misconception(
            all_alone,
            "You never look at `trained`. LoRA has r (d_in + d_out) numbers for each target in "
            "every layer.",
        ),
        Misconception(
            partial(diagnose, tables=2),
            "You take two tables for right. These models tie them: embeddings and head are one "
            "tensor.",
        ),
        Misconception(
            partial(misnamed, diagnose, {ALPHA: WIDE}),
            "You take a counted alpha for wide keys and values. alpha adds exactly one number for "
            "each adapted matrix.",
        ),
        Misconception(
            partial(diagnose, blind_to=ALPHA),
            "You miss the counted alpha: one number too many for each adapted matrix.",
        ),
        Misconception(
            partial(diagnose, blind_to=WIDE),
            "You miss keys and values that were counted as wide as the queries: `shapes` says how "
            "narrow they are.",
        ),
        Misconception(
            partial(diagnose, blind_to=ONE_BLOCK),
            "You miss the count of a single block: every layer has adapters of its own.",
        ),
        Misconception(
            partial(diagnose, blind_to=PACKED),
            "You miss the packed weights: without the adapter, `all` is smaller than the base.",
        ),
    ],
    why="Every wrong count is off by a number that has a meaning: a table, a half, one for each "
    "matrix. Work out the right count first, and read the difference.",
)
