"""Task 3, on the student's own sheet: what each relative trains."""

from functools import partial

from ...observing import unseen
from ...tasks import Misconception, Sheet, Task, by_entry


def shapes(sheet: Sheet, narrow: bool = True) -> list[tuple[int, int]]:
    """(d_out, d_in) of the three targets in one layer."""
    hidden, inner = sheet["hidden"], sheet["intermediate"]
    return [(hidden, hidden), (sheet["key_value"] if narrow else hidden, hidden), (hidden, inner)]


def on_sheet(
    sheet: Sheet,
    narrow: bool = True,
    by_input: bool = False,
    shared: bool = False,
    triplets: int = 1,
    half: bool = True,
    side: int = 1,
) -> dict[str, int]:
    """The five counts; the mistakes differ in the options.

    narrow: v_proj has key_value outputs. by_input: a magnitude for each input. shared: VeRA's
    frozen pair counted. triplets: numbers of E to a triplet. half, side: of OFT's blocks.
    """
    L, r, block = sheet["layers"], sheet["r"], sheet["block"]
    at = shapes(sheet, narrow)
    sides = sum(out + wide for out, wide in at)
    lora, outputs = L * r * sides, L * sum(out for out, _ in at)
    inputs = L * sum(wide for _, wide in at)
    pair = sheet["vera_r"] * (max(o for o, _ in at) + max(i for _, i in at)) if shared else 0
    numbers = block * (block - 1) // 2 if half else block * block
    return {
        "LoRA": lora,
        "DoRA": lora + (inputs if by_input else outputs),
        "VeRA": L * len(at) * sheet["vera_r"] + outputs + pair,
        "AdaLoRA": L * sheet["init_r"] * (sides + triplets * len(at)),
        "OFT": (inputs if side else outputs) // block * numbers,
    }


SHEET = Task(
    name="my_numbers",
    title="3. Your own model",
    points=3,
    cases=lambda generator: [],
    from_sheet=True,
    answer=on_sheet,
    observe=unseen,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(on_sheet, narrow=False),
            "You count v_proj as a square matrix. With grouped queries it has key_value outputs.",
        ),
        Misconception(
            partial(on_sheet, by_input=True),
            "You count a magnitude for each input. DoRA has one for each output, a row of W0.",
        ),
        Misconception(
            partial(on_sheet, shared=True),
            "You count VeRA's A and B. They are frozen: trained are d and b of each matrix.",
        ),
        Misconception(
            partial(on_sheet, triplets=0),
            "AdaLoRA has a number E beside each column of B and row of A: r more to a matrix.",
        ),
        Misconception(
            partial(on_sheet, half=False),
            "You count all entries of a block of Q. Q is skew-symmetric: those above the diagonal "
            "are trained, and the others follow.",
        ),
        Misconception(
            partial(on_sheet, side=0),
            "You cut the outputs into blocks. OFT rotates a row, which has d_in entries.",
        ),
    ],
    why="Each formula is the method's own shapes: A and B, plus a row's length, without A and B, "
    "plus E, or a triangle to a block. These are your own numbers.",
)
