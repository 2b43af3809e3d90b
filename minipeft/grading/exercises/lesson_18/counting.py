"""Task 1, on the student's own sheet: the numbers of four entries before one of them is built."""

from functools import partial

from ...observing import unseen
from ...tasks import Misconception, Sheet, Task, by_entry


def shapes(sheet: Sheet, kv: str = "kv") -> list[tuple[int, int]]:
    """(d_out, d_in) of the seven linear layers of a block."""
    d, narrow, ff = sheet["d"], sheet[kv], sheet["ff"]
    return [(d, d), (narrow, d), (narrow, d), (d, d), (ff, d), (ff, d), (d, ff)]


def on_sheet(sheet: Sheet, kv="kv", layers=7, shared=False, per_block=2, last=1, alone=True):
    """The four numbers that a sheet asks for; the mistakes differ in what they leave out.

    shared: VeRA's d once for the whole model. alone: VeRA's pair once for the whole model.
    """
    d, blocks, r, rank = (sheet[key] for key in ("d", "blocks", "r", "vera_r"))
    block = shapes(sheet, kv)[:layers]
    vectors = sum(out for out, _ in block)
    vera = blocks * vectors + rank * (1 if shared else blocks * len(block))
    pair = rank * (max(i for _, i in block) + max(o for o, _ in block))
    return {
        "LoRA": r * blocks * sum(out + into for out, into in block),
        "VeRA": vera,
        "VeRA with its pair": vera + (pair if alone else pair * blocks * len(block)),
        "norms": (per_block * blocks + last) * d,
    }


def multiplied(sheet: Sheet) -> dict[str, int]:
    """As if A and B together had r d_out d_in numbers."""
    products = sum(out * into for out, into in shapes(sheet))
    return on_sheet(sheet) | {"LoRA": sheet["r"] * sheet["blocks"] * products}


def both_sides(sheet: Sheet) -> dict[str, int]:
    """As if VeRA had a vector for the inputs of each layer as well."""
    right = on_sheet(sheet)
    more = sheet["blocks"] * sum(into for _, into in shapes(sheet))
    found = {name: right[name] + more for name in ("VeRA", "VeRA with its pair")}
    return right | found


SHEET = Task(
    name="my_numbers",
    title="1. Count before you build",
    points=3,
    cases=lambda generator: [],
    from_sheet=True,
    answer=on_sheet,
    observe=unseen,
    parts=by_entry,
    misconceptions=[
        Misconception(
            multiplied,
            "For LoRA you multiplied the sides of a layer. A has r d_in numbers and B has d_out r: "
            "the sides are added.",
        ),
        Misconception(
            partial(on_sheet, kv="d"),
            "You counted keys and values as wide as queries. Theirs are `kv` wide: several heads "
            "of queries share one of keys and values.",
        ),
        Misconception(
            partial(on_sheet, layers=4),
            "You left out the MLP: its three layers gate, up and down are linear layers as well.",
        ),
        Misconception(
            partial(on_sheet, shared=True),
            "VeRA shares its random pair, not its vectors: every layer has a d of its own.",
        ),
        Misconception(
            both_sides,
            "VeRA's b has one number for each output of a layer; its inputs have none. Its d has "
            "one for each of the `vera_r` directions.",
        ),
        Misconception(
            partial(on_sheet, alone=False),
            "You counted VeRA's pair once for each layer. All layers share one pair, as wide as "
            "the widest of them.",
        ),
        Misconception(
            partial(on_sheet, last=0),
            "There is one more norm than those in the blocks: the last one, before the head.",
        ),
        Misconception(
            partial(on_sheet, per_block=1),
            "A block has two norms, one before attention and one before the MLP.",
        ),
    ],
    why="All of this is known from shapes alone, before a byte is allocated. What counts in golf "
    "is the file: the same VeRA is small or large by one option. These are your own numbers.",
)
