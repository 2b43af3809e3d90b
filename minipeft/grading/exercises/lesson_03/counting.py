"""Task 3: how many numbers LoRA trains, by formula and on the student's own sheet."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Sheet, Task, by_case, by_entry
from ...observing import kind_and_count, unseen
from .asked import architecture

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL_LINEAR = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]


def layer_shapes(hidden, heads, key_value_heads, intermediate) -> dict[str, tuple[int, int]]:
    """(d_out, d_in) of the seven linear layers of a Llama-style block."""
    narrow = hidden // heads * key_value_heads
    square, key_value = (hidden, hidden), (narrow, hidden)
    up = (intermediate, hidden)
    shapes = [square, key_value, key_value, square, up, up, (hidden, intermediate)]
    return dict(zip(ALL_LINEAR, shapes, strict=True))


def count(layers, hidden, heads, key_value_heads, intermediate, r, targets, each=None):
    """Trainable numbers of LoRA: in every layer, r (d_in + d_out) for every target."""
    shapes = layer_shapes(hidden, heads, key_value_heads, intermediate)
    each = each or (lambda d_out, d_in, r: r * (d_out + d_in))
    return layers * sum(each(*shapes[target], r) for target in targets)


def no_gqa(layers, hidden, heads, key_value_heads, *rest):
    """As if every head had keys and values of its own."""
    return count(layers, hidden, heads, heads, *rest)


def one_layer(layers, *rest):
    """As if the model had one block."""
    return count(1, *rest)


def all_square(layers, hidden, heads, key_value_heads, intermediate, *rest):
    """As if every matrix were hidden x hidden."""
    return count(layers, hidden, heads, heads, hidden, *rest)


full = partial(count, each=lambda d_out, d_in, r: d_out * d_in)
product = partial(count, each=lambda d_out, d_in, r: r * d_out * d_in)
only_B = partial(count, each=lambda d_out, d_in, r: d_out * r)


def count_cases(generator: np.random.Generator) -> Cases:
    """Four models, each with other targets."""
    targets = (["q_proj", "v_proj"], ["k_proj", "down_proj"], ATTENTION, ALL_LINEAR)
    return [[*architecture(generator).values(), list(chosen)] for chosen in targets]


COUNTING = [
    Misconception(
        no_gqa,
        "k_proj and v_proj are counted as square. With grouped-query attention their outputs are "
        "key_value_heads x (hidden / heads) wide.",
    ),
    Misconception(
        full,
        "You counted the numbers of the update B A, d_out d_in. Trained are only those of B and A.",
    ),
    Misconception(
        product,
        "You multiplied r by the product of the sides. A has r d_in numbers and B has d_out r: "
        "the sides are added.",
    ),
    Misconception(one_layer, "You counted one block. Every one of the layers has its own A and B."),
    Misconception(
        all_square,
        "You took every matrix for hidden x hidden. k and v are narrower, and the MLP's are "
        "intermediate wide on one side.",
    ),
    Misconception(only_B, "You counted B alone: A has r d_in numbers as well."),
]



COUNT = Task(
    name="count_lora",
    title="3a. Count any model",
    points=3,
    cases=count_cases,
    answer=count,
    observe=kind_and_count,
    misconceptions=[
        *COUNTING,
        Misconception(
            lambda *given: float(count(*given)),
            "The numbers are right, but they are floats. A count is an int: divide with //, not /.",
        ),
    ],
    parts=by_case("q and v", "k and down", "attention", "all seven"),
    why="Each target costs r (d_in + d_out): linear in its sides, where the matrix itself is their "
    "product. With GQA 'q and v' is no longer 4 r d for each layer.",
)


def on_sheet(counter: Callable, sheet: Sheet) -> dict[str, int]:
    """The three numbers that a sheet asks for."""
    sets = {"q and v": ["q_proj", "v_proj"], "attention": ATTENTION, "all linear": ALL_LINEAR}
    return {name: counter(*sheet.values(), targets) for name, targets in sets.items()}


SHEET = Task(
    name="my_counts",
    title="3b. Your own sheet",
    points=1,
    cases=lambda generator: [],
    from_sheet=True,
    answer=partial(on_sheet, count),
    observe=unseen,
    misconceptions=[
        Misconception(partial(on_sheet, wrong.answer), f"On your sheet: {wrong.message}")
        for wrong in COUNTING
    ],
    parts=by_entry,
    why="These are your own numbers: no other sheet has them.",
)
