"""Task 4: how many bits a weight takes, and the bytes of the student's own sheet."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Sheet, Task, by_case, by_entry
from ...observing import unseen
from .asked import number


def bits_per_weight(bits, block, scale_bits, second_block, second_bits) -> float:
    """bits + scale_bits / block, and what the constants of the constants add."""
    return bits + scale_bits / block + again(block, second_block, second_bits)


def again(block: int, second_block: int, second_bits: int) -> float:
    """Bits for each weight of the second kind of constants; 0 where there are none."""
    return second_bits / (block * second_block) if second_block else 0.0


def cases(generator: np.random.Generator) -> Cases:
    """NF4 without and with double quantization, MXFP4, and another of each kind."""
    block = int(generator.choice([16, 128, 512]))
    bits, second = int(generator.integers(2, 7)), int(generator.integers(60, 300))
    return [
        [4, 64, 32, 0, 0],
        [4, 64, 8, 256, 32],
        [4, 32, 8, 0, 0],
        [bits, block, 16, 0, 0],
        [bits, block, 8, second, 32],
    ]


ONCE, TWICE = "constants as they are", "constants quantized again"

BITS = Task(
    name="bits_per_weight",
    title="4a. Bits for each weight",
    points=2,
    cases=cases,
    answer=bits_per_weight,
    observe=number,
    parts=by_case(ONCE, TWICE, ONCE, ONCE, TWICE),
    trivial=[lambda bits, *rest: bits],
    misconceptions=[
        Misconception(
            lambda bits, *rest: float(bits),
            "You count the codes alone. The constants are stored as well: four-bit NF4 takes 4.5.",
        ),
        Misconception(
            lambda bits, block, scale_bits, *rest: bits + scale_bits / block,
            "You leave out the constants of the constants: `second_bits` for each `second_block` "
            "blocks.",
        ),
        Misconception(
            lambda bits, block, scale_bits, second_block, second_bits: (
                bits + scale_bits / block + again(1, second_block, second_bits)
            ),
            "You spread the second constants over second_block weights. They are one for "
            "second_block *constants*, and each of those serves a whole block of weights.",
        ),
        Misconception(
            lambda bits, block, scale_bits, second_block, second_bits: (
                bits + (again(block, second_block, second_bits) or scale_bits / block)
            ),
            "With double quantization you drop the first constants. They are still there, in 8 "
            "bits each.",
        ),
        Misconception(
            lambda *given: bits_per_weight(*given) / 8,
            "These are bytes for each weight. Asked for are bits.",
        ),
        Misconception(
            lambda bits, block, scale_bits, second_block, second_bits: float(
                bits + scale_bits + (second_bits if second_block else 0)
            ),
            "You add a whole constant to every weight. A block shares one: divide by its size.",
        ),
    ],
    why="Each constant is shared: by block weights the first kind, by block x second_block the "
    "second. 4 + 8/64 + 32/(64 x 256) = 4.127: double quantization takes 0.373 bits off 4.5.",
)


def stored(
    matrices, d_out, d_in, block, second_block, half=2, blocks=None, parts=(1, 1, 1)
) -> dict:
    """Bytes of the sheet's matrices; the mistakes differ in what they count.

    parts: how often the constants of the constants, the means, and the matrices are counted.
    """
    second, mean, times = parts
    times = matrices if times else 1
    blocks = blocks or d_out * d_in // block
    nested = second * 4 * (blocks // second_block)
    return {
        "codes": times * (d_out * d_in // half),
        "constants": times * 4 * blocks,
        "constants again": times * (blocks + nested + 4 * mean),
    }


def on_sheet(count: Callable, sheet: Sheet) -> dict:
    """The three numbers that a sheet asks for."""
    return count(*sheet.values())


def per_row(matrices, d_out, d_in, block, second_block) -> dict:
    """As if a block were a row."""
    return stored(matrices, d_out, d_in, block, second_block, blocks=d_out)


def in_bits(*sheet) -> dict:
    """Bits in place of bytes."""
    return {name: 8 * count for name, count in stored(*sheet).items()}


SHEET = Task(
    name="my_bytes",
    title="4b. Your own sheet",
    points=1,
    cases=lambda generator: [],
    from_sheet=True,
    answer=partial(on_sheet, stored),
    observe=unseen,
    misconceptions=[
        Misconception(partial(on_sheet, wrong), f"On your sheet: {message}")
        for wrong, message in (
            (partial(stored, half=1), "each code has a byte of its own. Two of them share one."),
            (partial(stored, parts=(1, 1, 0)), "you counted one matrix. There are several."),
            (
                partial(stored, parts=(1, 0, 1)),
                "the mean is missing. Each matrix keeps the mean of its constants, 4 bytes, or "
                "nobody could add it back.",
            ),
            (
                partial(stored, parts=(0, 1, 1)),
                "the constants of the constants are missing: 4 bytes for each second_block blocks.",
            ),
            (per_row, "you have one constant for each row. Each block has one."),
            (in_bits, "these are bits. Eight of them are a byte."),
        )
    ],
    parts=by_entry,
    why="These are your own numbers: no other sheet has them.",
)
