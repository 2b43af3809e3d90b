"""Task 2, on the student's own sheet: what has to be counted before two runs are compared."""

import math
from collections.abc import Callable
from functools import partial

from ...observing import unseen
from ...tasks import Misconception, Sheet, Task, by_entry

Counted = Callable[[Sheet], int]
BITS = 2  # that one trained number is supposed to hold


def numbers_per_rank(sheet: Sheet) -> tuple[int, int]:
    """What rank 1 trains in one layer: in the four attention matrices, and in the three others."""
    hidden, intermediate = sheet["hidden"], sheet["intermediate"]
    return 8 * hidden, 3 * (hidden + intermediate)


def bits_of(sheet: Sheet) -> int:
    """The bits of all codes: log2 of the alphabet for each letter."""
    return sheet["codes"] * sheet["letters"] * int(math.log2(sheet["alphabet"]))


def equal_rank(sheet: Sheet) -> int:
    """The largest rank of the attention matrices with at most the other matrices' numbers."""
    attention, others = numbers_per_rank(sheet)
    return sheet["r"] * others // attention


def rank_for(sheet: Sheet, bits: int, each: int = BITS, layers: int | None = None) -> int:
    """The smallest rank of all seven matrices whose numbers hold the bits."""
    held = each * (sheet["layers"] if layers is None else layers) * sum(numbers_per_rank(sheet))
    return -(-bits // held)


def on_sheet(
    sheet: Sheet,
    attention: Counted = equal_rank,
    bits: Counted = bits_of,
    rank: Counted | None = None,
    steps: Counted = lambda sheet: sheet["steps"] * sheet["small_batch"] // sheet["large_batch"],
) -> dict[str, int]:
    """The four numbers that a sheet asks for; the mistakes replace one of them.

    The rank for the bits follows from the bits, whether these are right or not.
    """
    return {
        "attention rank": attention(sheet),
        "bits": bits(sheet),
        "rank for the bits": rank_for(sheet, bits(sheet)) if rank is None else rank(sheet),
        "steps": steps(sheet),
    }


SHEET = Task(
    name="my_comparison",
    title="2. Your own comparison",
    points=3,
    cases=lambda generator: [],
    from_sheet=True,
    answer=on_sheet,
    observe=unseen,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(on_sheet, attention=lambda sheet: sheet["r"]),
            "You gave both the same rank. A rank costs d_out + d_in numbers, and the matrices of "
            "the MLP are longer than those of the attention.",
        ),
        Misconception(
            partial(on_sheet, attention=lambda sheet: equal_rank(sheet) + 1),
            "Your attention rank has more numbers than the MLP's. At most as many are asked for: "
            "round down.",
        ),
        Misconception(
            partial(
                on_sheet,
                attention=lambda sheet: (
                    sheet["r"]
                    * (2 * (sheet["hidden"] + sheet["intermediate"]))
                    // (8 * sheet["hidden"])
                ),
            ),
            "You counted two matrices of the MLP. There are three, as the gate is one of its own.",
        ),
        Misconception(
            partial(
                on_sheet,
                attention=lambda sheet: (
                    3 * sheet["r"] * sheet["intermediate"] // (4 * sheet["hidden"])
                ),
            ),
            "Your attention rank goes by the areas d_out d_in of the matrices. A and B have "
            "r (d_out + d_in) numbers.",
        ),
        Misconception(
            partial(
                on_sheet, bits=lambda sheet: sheet["codes"] * sheet["letters"] * sheet["alphabet"]
            ),
            "You multiplied by the size of the alphabet. A letter out of n is log2(n) bits.",
        ),
        Misconception(
            partial(on_sheet, bits=lambda sheet: sheet["codes"] * sheet["letters"] * 8),
            "You counted eight bits for a letter, as a file does. A letter out of n is log2(n).",
        ),
        Misconception(
            partial(on_sheet, rank=lambda sheet: rank_for(sheet, bits_of(sheet), each=1)),
            "You let a number hold one bit. Supposed are two.",
        ),
        Misconception(
            partial(on_sheet, rank=lambda sheet: rank_for(sheet, bits_of(sheet), each=16)),
            "You let a number hold all 16 bits that store it. Supposed are two.",
        ),
        Misconception(
            partial(on_sheet, rank=lambda sheet: rank_for(sheet, bits_of(sheet)) - 1),
            "Your rank for the bits is one too small: its numbers hold almost all. Round up.",
        ),
        Misconception(
            partial(on_sheet, rank=lambda sheet: rank_for(sheet, bits_of(sheet), layers=1)),
            "You counted the adapters of one layer. Every layer has its own.",
        ),
        Misconception(
            partial(on_sheet, steps=lambda sheet: sheet["steps"]),
            "You compare batch sizes at equal steps: the large batch then reads more examples, and "
            "whatever comes of that would be put down to the batch.",
        ),
        Misconception(
            partial(
                on_sheet,
                steps=lambda sheet: sheet["steps"] * sheet["large_batch"] // sheet["small_batch"],
            ),
            "Your steps go the wrong way: with a larger batch fewer steps read as many examples.",
        ),
    ],
    why="Equal rank is not equal count, equal steps are not equal examples, and the bits of a task "
    "say how many numbers could hold it at best, not how many training needs.",
)
