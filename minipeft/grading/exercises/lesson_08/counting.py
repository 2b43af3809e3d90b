"""Task 3, on the student's own sheet: what four methods train on one decoder without biases."""

from functools import partial

from ...observing import unseen
from ...tasks import Misconception, Sheet, Task, by_entry


def sizes(sheet: Sheet) -> tuple[int, int, int, int]:
    """(layers, d, keys: the outputs of k and of v, ff)."""
    return sheet["layers"], sheet["d"], sheet["kv_heads"] * sheet["head_dim"], sheet["ff"]


def on_sheet(sheet: Sheet, keys=None, third="ff", last_norm=1, norms_in_block=2) -> dict[str, int]:
    """The four numbers that a sheet asks for; the mistakes differ in one of the lengths.

    keys: the outputs of k and of v, where they are taken wrongly. third: what (IA)^3 scales at
    down. last_norm: norms after the blocks. norms_in_block: those that the last block counts.
    """
    layers, d, right, ff = sizes(sheet)
    keys = right if keys is None else keys(sheet)
    matrices = 2 * d * d + 2 * d * keys + 3 * d * ff
    return {
        "ia3": layers * (2 * keys + {"ff": ff, "d": d, "both": d + ff}[third]),
        "biases": layers * (d + 2 * keys + d + 2 * ff + d),
        "norms": layers * 2 * d + last_norm * d,
        "last block": matrices + norms_in_block * d,
    }


def without(name: str):
    """One entry of a wrong kind, the others right: a mistake in that entry alone."""

    def answer(sheet: Sheet, **wrong) -> dict[str, int]:
        return on_sheet(sheet) | {name: on_sheet(sheet, **wrong)[name]}

    return answer


def gated_once(sheet: Sheet) -> dict[str, int]:
    """An MLP of two matrices, as in GPT-2: gate is forgotten."""
    layers, d, _, ff = sizes(sheet)
    right = on_sheet(sheet)
    return right | {
        "biases": right["biases"] - layers * ff,
        "last block": right["last block"] - d * ff,
    }


def one_length(sheet: Sheet) -> dict[str, int]:
    """One length d for all three vectors of (IA)^3."""
    return on_sheet(sheet) | {"ia3": 3 * sheet["layers"] * sheet["d"]}


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
            partial(on_sheet, keys=lambda sheet: sheet["d"]),
            "k and v have kv_heads * head_dim outputs each, fewer than d: that changes three of "
            "the four numbers.",
        ),
        Misconception(
            one_length,
            "One length for all three vectors of (IA)^3 does not fit: keys and values are shorter "
            "than d, the input of down is longer.",
        ),
        Misconception(
            partial(without("ia3"), third="d"),
            "You scale the output of down. (IA)^3 scales its input, which has ff entries.",
        ),
        Misconception(
            gated_once,
            "This MLP has three matrices: gate, up and down. One of the first two is missing.",
        ),
        Misconception(
            partial(without("norms"), last_norm=0),
            "The norm after the last block is missing: it belongs to no block.",
        ),
        Misconception(
            partial(without("last block"), norms_in_block=0),
            "A block has two norms of its own, and the last block trains them too.",
        ),
    ],
    why="(IA)^3 and the norms grow with the sides of the matrices, a block with their areas. "
    "These are your own numbers.",
)
