"""Task 2: bytes of a base in NF4 and of its adapter, by formula and on the student's own sheet."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Pieces, Sheet, Task, by_entry
from ...observing import unseen
from .asked import kinds_and_bytes, small_llama

BLOCK, NESTED = 64, 256
ENTRIES = ("codes", "constants", "the rest", "adapter", "optimizer")


def matrices(hidden: int, key_value: int, intermediate: int) -> list[tuple[int, int]]:
    """(d_out, d_in) of the seven linear layers of a Llama-style block."""
    square, narrow, wide = (hidden, hidden), (key_value, hidden), (intermediate, hidden)
    return [square, narrow, narrow, square, wide, wide, (hidden, intermediate)]


def doubly(blocks: int) -> int:
    """A byte for each block, a float32 for 256 of them or fewer, and the mean."""
    return blocks + 4 * -(blocks // -NESTED) + 4


def count(
    layers, hidden, key_value, intermediate, vocabulary, r,
    constants=doubly, rest=2, adapter=4, states=2, head=False,
) -> dict[str, int]:  # fmt: skip
    """Bytes; the mistakes change the widths."""
    shapes = matrices(hidden, key_value, intermediate)
    outside = [(vocabulary, hidden)] * 2
    stored = shapes * layers + (outside if head else [])
    dense = (2 * layers + 1) * hidden + (0 if head else 2 * vocabulary * hidden)
    trained = layers * sum(r * (d_out + d_in) for d_out, d_in in shapes)
    return {
        "codes": sum(d_out * d_in for d_out, d_in in stored) // 2,
        "constants": sum(constants(d_out * d_in // BLOCK) for d_out, d_in in stored),
        "the rest": rest * dense,
        "adapter": adapter * trained,
        "optimizer": 4 * states * trained,
    }


def one_layer(layers, *given) -> dict[str, int]:
    """As if the model had one block."""
    return count(1, *given)


def all_square(layers, hidden, key_value, *given) -> dict[str, int]:
    """As if every head had keys and values of its own."""
    return count(layers, hidden, hidden, *given)


def cases(generator: np.random.Generator) -> Cases:
    """Three models."""
    return [list(small_llama(generator).values()) for _ in range(3)]


def entry_parts(got: list, want: list) -> Pieces:
    """Each entry, in all cases."""

    def of(values: list, name: str) -> list:
        return [v.get(name) if isinstance(v, dict) else v for v in values]

    return {name: (of(got, name), of(want, name)) for name in ENTRIES}


COUNTING = [
    Misconception(
        partial(count, constants=lambda blocks: 4 * blocks),
        "Your constants take 4 bytes for each block: that is NF4 without double quantization. With "
        "it a block's absmax is one byte, and 256 of them share a float32.",
    ),
    Misconception(
        partial(count, constants=lambda blocks: blocks),
        "You counted a byte for each block and no more. The second quantization has constants of "
        "its own: a float32 for 256 blocks, and the mean.",
    ),
    Misconception(
        partial(count, head=True),
        "You put embeddings and head in four bits, too. QLoRA leaves both in 16.",
    ),
    Misconception(
        partial(count, rest=4),
        "You counted the rest in 32 bits. That is so after prepare_model_for_kbit_training; asked "
        "for is the model before.",
    ),
    Misconception(
        partial(count, adapter=2),
        "You counted the adapter in 16 bits. What is trained has 32 here.",
    ),
    Misconception(
        partial(count, states=1),
        "AdamW keeps two numbers for each trained one, m and v, in 32 bits each.",
    ),
    Misconception(one_layer, "You counted one block. There are `layers` of them."),
    Misconception(
        all_square,
        "k_proj and v_proj are counted as square. With grouped-query attention their outputs are "
        "only key_value wide.",
    ),
]

COUNT = Task(
    name="qlora_bytes",
    title="2a. Count the bytes",
    points=3,
    cases=cases,
    answer=count,
    observe=kinds_and_bytes,
    parts=entry_parts,
    misconceptions=[
        *COUNTING,
        Misconception(
            lambda *given: {name: float(n) for name, n in count(*given).items()},
            "The numbers are right, but they are floats. Bytes are whole: divide with //, not /.",
        ),
    ],
    why="4 bits, and 8 / 64 + 32 / (64 * 256) for the constants: 4.127 for each linear weight. In "
    "a small model the rest, in 16 bits, is a large part.",
)


def on_sheet(counter: Callable, sheet: Sheet) -> dict[str, int]:
    """The numbers that a sheet asks for."""
    found = counter(*sheet.values())
    base = found["codes"] + found["constants"] + found["the rest"]
    return {"base": base, "adapter and optimizer": found["adapter"] + found["optimizer"]}


SHEET = Task(
    name="my_bytes",
    title="2b. Your own sheet",
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
    why="These are your own bytes: no other sheet has them.",
)
