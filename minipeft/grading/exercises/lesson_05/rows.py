"""Tasks 1 and 3: rows of the ledger that follow from counts, by formula and on one's own sheet.

Rajbhandari et al. 2020, "ZeRO", section 3.1 (states); Dettmers et al. 2023, "QLoRA", section 3.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Sheet, Task, by_case, by_entry
from ...observing import unseen
from .asked import whole

MEANS = {"sgd": 0, "lion": 1, "adamw": 2}


def states(frozen, trained, frozen_bytes, trained_bytes, optimizer, master_copy, **wrong):
    """Bytes of five rows; `wrong` puts other numbers in the place of right ones."""
    means = wrong.get("means", MEANS)[optimizer]
    each = wrong.get("mean_bytes", 4) or trained_bytes
    copied = master_copy and (trained_bytes == 2 or "copies_all" in wrong)
    with_gradient = trained + (frozen if "frozen_too" in wrong else 0)
    return {
        "frozen": frozen * frozen_bytes,
        "trained": trained * trained_bytes,
        "gradients": with_gradient * wrong.get("gradient_bytes", trained_bytes),
        "optimizer": means * each * (with_gradient if "means_too" in wrong else trained),
        "master copy": 4 * trained if copied else 0,
    }


def states_cases(generator: np.random.Generator) -> Cases:
    """Full fine-tuning, LoRA, Lion, and plain gradient descent."""
    base = 1000 * int(generator.integers(1_000, 9_000))
    adapter = 8 * int(generator.integers(1_000, 9_000))
    return [
        [0, base, 2, 2, "adamw", True],
        [base, adapter, 2, 4, "adamw", True],
        [base, adapter, 4, 2, "lion", False],
        [base, adapter, 2, 2, "sgd", True],
    ]


STATES = Task(
    name="state_rows",
    title="1a. Rows that follow from counts",
    points=2,
    cases=states_cases,
    answer=states,
    parts=by_case("full fine-tuning", "LoRA", "Lion", "plain gradient descent"),
    misconceptions=[
        Misconception(
            partial(states, frozen_too=True),
            "You count gradients of frozen numbers. Only what is trained has one.",
        ),
        Misconception(
            partial(states, frozen_too=True, means_too=True),
            "You count gradients and means of all numbers, as if the base were trained too.",
        ),
        Misconception(
            partial(states, means={"sgd": 0, "lion": 1, "adamw": 1}),
            "AdamW has two running means for each trained number, that of the gradient and that of "
            "its square. You count one.",
        ),
        Misconception(
            partial(states, means={"sgd": 0, "lion": 2, "adamw": 2}),
            "Lion has one running mean for each trained number, not two.",
        ),
        Misconception(
            partial(states, mean_bytes=None),
            "Your means are as wide as what is trained. Here they are kept in fp32, 4 bytes each, "
            "whatever the width of the weights.",
        ),
        Misconception(
            partial(states, copies_all=True),
            "A master copy is the fp32 copy of numbers that are stored in 2 bytes. What is stored "
            "in 4 needs none.",
        ),
        Misconception(
            partial(states, gradient_bytes=4),
            "Your gradients have 4 bytes each. Here they are as wide as what is trained.",
        ),
    ],
    why="Everything but the frozen row follows from the trained numbers alone. That is what a "
    "method with few of them saves, and it is all that it saves.",
)


def blocks_of(numbers: int, size: int) -> int:
    """How many blocks, the last of which may be shorter."""
    return -(-numbers // size)


def four_bits(numbers, double, halves=2, scale=4, nested=None, mean=4, blocks=blocks_of):
    """Bytes of a matrix in 4 bits with its constants."""
    codes, scales = blocks(numbers, halves), blocks(numbers, 64)
    if not double:
        return codes + scale * scales
    second = blocks(scales if nested is None else nested(numbers), 256)
    return codes + scales + 4 * second + mean


def four_bit_cases(generator: np.random.Generator) -> Cases:
    """Full blocks and a short last one, plain and double."""
    full = 16_384 * int(generator.integers(3, 300))
    short = full + 64 * int(generator.integers(1, 200)) + 2 * int(generator.integers(1, 31)) + 1
    return [[numbers, double] for double in (False, True) for numbers in (full, short)]


FOUR_BITS = Task(
    name="four_bit_bytes",
    title="1b. A matrix in 4 bits",
    points=3,
    cases=four_bit_cases,
    answer=four_bits,
    observe=whole,
    parts=by_case("plain", "plain", "double", "double"),
    misconceptions=[
        Misconception(
            partial(four_bits, blocks=lambda numbers, size: numbers // size),
            "Right for full blocks. A last block that is not full needs its scale, too, and an odd "
            "number of codes needs one more byte: round up.",
        ),
        Misconception(
            lambda numbers, double: blocks_of(numbers, 2),
            "The constants are missing: without its scale a block of codes means nothing.",
        ),
        Misconception(
            lambda numbers, double: four_bits(numbers, False),
            "Double quantization changes nothing in your count. The scales then take one byte each, "
            "and fp32 numbers only for each 256 of them.",
        ),
        Misconception(
            partial(four_bits, nested=lambda numbers: numbers),
            "You divide the weights into blocks of 256. It is the scales that come in blocks of "
            "256: one fp32 number for 64 x 256 weights.",
        ),
        Misconception(
            partial(four_bits, mean=0),
            "The mean of the scales is missing: with double quantization one fp32 number for the "
            "whole matrix.",
        ),
        Misconception(
            partial(four_bits, halves=1),
            "You give each code a byte. A code has 4 bits: two of them share a byte.",
        ),
        Misconception(
            lambda numbers, double: 8 * four_bits(numbers, double),
            "That is the number of bits. Asked for are bytes, an eighth of it.",
        ),
        Misconception(
            lambda numbers, double: numbers / 2 + (numbers / 64) * (1 + 4 / 256 if double else 4),
            "You count fractions of blocks. Bytes are whole: round each count of blocks up, and add "
            "the mean where there is one.",
        ),
    ],
    why="Plain, the constants add 32 / 64 = 0.5 bits to each weight's 4. Double, they add "
    "8 / 64 + 32 / (64 x 256) = 0.127.",
)


def on_sheet(sheet: Sheet, **wrong: float) -> dict[str, int]:
    """Bytes of weights, constants, adapter, gradients and AdamW's means for three methods."""
    linear, other, trained = sheet["linear"], sheet["other"], sheet["trained"]
    whole_base = linear + other
    each = wrong.get("each", 16)
    scales = wrong.get("scales", 1 / 64 + 4 / (64 * 256))
    if "all_packed" in wrong:
        packed = whole_base * (1 / 2 + scales)
    else:
        packed = linear * (1 / 2 + scales) + 2 * other
    return {
        "full": int(wrong.get("full", 12) * whole_base),
        "LoRA": int(2 * whole_base + each * trained),
        "QLoRA": int(packed + each * trained),
    }


def sheet_mistake(message: str, **wrong: float) -> Misconception:
    """One wrong convention on the sheet."""
    return Misconception(partial(on_sheet, **wrong), f"On your sheet: {message}")


SHEET = Task(
    name="my_budget",
    title="3. Your own sheet",
    points=2,
    cases=lambda generator: [],
    from_sheet=True,
    answer=on_sheet,
    observe=unseen,
    misconceptions=[
        sheet_mistake(
            "the adapter is in fp32, so a trained number takes 4 + 4 + 8 bytes with its gradient "
            "and its two means; you took 12.",
            each=12,
        ),
        sheet_mistake("full fine-tuning has no master copy here: 2 + 2 + 8 bytes each.", full=16),
        sheet_mistake("the scales in 4 bits are missing.", scales=0),
        sheet_mistake(
            "the scales are quantized as well: one byte for 64 weights, and 4 for 64 x 256.",
            scales=1 / 16,
        ),
        sheet_mistake(
            "only the linear layers are in 4 bits. What is left keeps its 2 bytes each.",
            all_packed=1,
        ),
        sheet_mistake("gradients and means of the trained numbers are missing.", each=4),
    ],
    parts=by_entry,
    why="These are your own bytes: no other sheet has them.",
)
