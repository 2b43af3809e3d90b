"""Task 3, on the student's own sheet: bytes of an adapter, and what a batch reads."""

from functools import partial

from ...observing import unseen
from ...tasks import Misconception, Sheet, Task, by_entry

MATRICES = 4  # query, key, value and output projection, all hidden x hidden


def on_sheet(sheet: Sheet, width=2, matrices=MATRICES, sides=2, up=0, bases="requests", pairs=""):
    """The four numbers that a sheet asks for; the mistakes differ in what they count.

    width: bytes a number. sides: of a matrix that a pair reaches. up: added to the quotient.
    bases: how often one by one reads the base. pairs: how many adapters a mixed step reads.
    """
    base = width * sheet["parameters of the base"]
    one = width * sheet["layers"] * matrices * sheet["r"] * sides * sheet["hidden"]
    often = sheet["requests"] if bases == "requests" else 1
    many = sheet["requests"] if pairs == "requests" else sheet["adapters"]
    return {
        "bytes of an adapter": one,
        "adapters as large as the base": base // one + up,
        "read mixed": base + many * one,
        "read one by one": often * base + sheet["requests"] * one,
    }


def adapters_once(sheet: Sheet) -> dict[str, int]:
    """As if one by one read each adapter once, and the base for each request."""
    right = on_sheet(sheet)
    spare = sheet["requests"] - sheet["adapters"]
    return right | {
        "read one by one": right["read one by one"] - spare * right["bytes of an adapter"]
    }


SHEET = Task(
    name="my_numbers",
    title="3. Your own shelf",
    points=3,
    cases=lambda generator: [],
    from_sheet=True,
    answer=on_sheet,
    observe=unseen,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(on_sheet, width=4),
            "All numbers are asked for in bfloat16: two bytes each, not four.",
        ),
        Misconception(
            partial(on_sheet, matrices=1),
            "Every layer has four matrices with an adapter, not one.",
        ),
        Misconception(
            partial(on_sheet, sides=1),
            "A pair has r (d_in + d_out) numbers: A reaches one side of the matrix, B the other.",
        ),
        Misconception(
            partial(on_sheet, up=1),
            "Asked for are whole adapters that fit: round down, not up.",
        ),
        Misconception(
            partial(on_sheet, bases="once"),
            "One by one, every request is a pass of its own, and each pass reads the base again.",
        ),
        Misconception(
            partial(on_sheet, pairs="requests"),
            "Mixed, an adapter is read once, however many requests ask for it.",
        ),
        Misconception(
            adapters_once,
            "One by one, every request's pass reads its adapter, also one that was read before.",
        ),
    ],
    why="A pass reads the base once and each of its adapters once. What differs between ways of "
    "serving is the number of passes. These are your own numbers.",
)
