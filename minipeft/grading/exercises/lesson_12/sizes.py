"""Task 3, on the student's own sheet: what a merge saves in products and costs in bytes."""

from functools import partial

from ...tasks import Misconception, Sheet, Task, by_entry
from ...observing import unseen
from .asked import BLOCK


def on_sheet(sheet: Sheet, entries=2, absmax=4, adapter=2, factor=1, merged=2) -> dict[str, int]:
    """The three numbers that a sheet asks for; the mistakes differ in bytes and factors.

    entries: codes to a byte. absmax, adapter, merged: bytes for each of those numbers.
    """
    d_out, d_in, r = sheet["d_out"], sheet["d_in"], sheet["r"]
    pair, matrix = r * (d_in + d_out), d_out * d_in
    return {
        "multiplications saved": factor * pair,
        "bytes merged": merged * matrix,
        "bytes unmerged": matrix // entries + absmax * matrix // BLOCK + adapter * pair,
    }


def product_of_sides(sheet: Sheet) -> dict[str, int]:
    """As if A and B together had r d_in d_out numbers."""
    d_out, d_in, r = sheet["d_out"], sheet["d_in"], sheet["r"]
    extra = r * d_out * d_in - r * (d_in + d_out)
    right = on_sheet(sheet)
    return right | {
        "multiplications saved": right["multiplications saved"] + extra,
        "bytes unmerged": right["bytes unmerged"] + 2 * extra,
    }


SHEET = Task(
    name="my_numbers",
    title="3. Your own layer",
    points=2,
    cases=lambda generator: [],
    from_sheet=True,
    answer=on_sheet,
    observe=unseen,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(on_sheet, absmax=0),
            "Four bits for a weight are not all: every block of 64 weights has a constant of four "
            "bytes beside its codes.",
        ),
        Misconception(
            partial(on_sheet, entries=1),
            "Two codes of four bits share a byte.",
        ),
        Misconception(
            partial(on_sheet, merged=4),
            "The merged layer is asked for in bfloat16: two bytes for each weight.",
        ),
        Misconception(
            partial(on_sheet, adapter=0),
            "Before the merge the adapter is there, too: A and B, two bytes for each number.",
        ),
        Misconception(
            partial(on_sheet, adapter=4),
            "A and B are asked for in bfloat16: two bytes for each number, not four.",
        ),
        Misconception(
            product_of_sides,
            "A has r d_in numbers and B has d_out r: the sides are added, not multiplied.",
        ),
        Misconception(
            partial(on_sheet, factor=2),
            "Asked for are multiplications alone, without the additions beside them.",
        ),
    ],
    why="A merge saves the two thin products, which are small beside the large one; out of four "
    "bits it costs nearly four times the memory. These are your own numbers.",
)
