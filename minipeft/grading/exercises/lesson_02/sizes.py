"""Task 2: how many numbers two factors have, and up to which rank they save any."""

from functools import partial

import numpy as np

from ...observing import unseen
from ...tasks import Cases, Misconception, Sheet, Task, by_entry


def factor_cases(generator: np.random.Generator) -> Cases:
    """Squares, the break-even rank itself, and long matrices on either side of it."""
    d = 4 * int(generator.integers(8, 20))
    wide = int(generator.integers(300, 400))
    return [
        [64, 64, 4],
        [32, 32, 2],
        [d, d, d // 2],
        [d, 3 * d, 3 * d // 4 - 1],
        [d, wide, d - 1],
        [wide, d, d // 2 + 2],
    ]


def factor_numbers(d_out, d_in, r, numbers=None, pays=None):
    """{"numbers", "pays"}; the mistakes count or compare otherwise."""
    count = r * (d_out + d_in) if numbers is None else numbers(d_out, d_in, r)
    saves = count < d_out * d_in if pays is None else pays(d_out, d_in, r)
    return {"numbers": count, "pays": bool(saves)}


FACTORS = Task(
    name="factor_numbers",
    title="2a. When does it pay?",
    points=1,
    cases=factor_cases,
    answer=factor_numbers,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(factor_numbers, numbers=lambda d_out, d_in, r: r * d_out * d_in),
            "You multiplied the sides. B has d_out r numbers and A has r d_in: the two counts are "
            "added.",
        ),
        Misconception(
            partial(factor_numbers, numbers=lambda d_out, d_in, r: r * d_in),
            "One factor is missing: B (d_out, r) is trained as well as A (r, d_in).",
        ),
        Misconception(
            partial(
                factor_numbers, pays=lambda d_out, d_in, r: r * (d_out + d_in) <= d_out * d_in
            ),
            "As many numbers as before save nothing. It pays only where the factors have fewer.",
        ),
        Misconception(
            partial(factor_numbers, pays=lambda d_out, d_in, r: r < min(d_out, d_in)),
            "A rank below the full one is not enough. Both factors together need fewer numbers "
            "than the matrix has.",
        ),
        Misconception(
            partial(factor_numbers, pays=lambda d_out, d_in, r: 2 * r < min(d_out, d_in)),
            "Half the side is the break-even rank of a square matrix. A long one breaks even "
            "later: compare the two counts.",
        ),
    ],
    why="The factors have r (d_out + d_in) numbers, the matrix has d_out d_in: one count grows with "
    "the sides, the other with the area.",
)


def on_sheet(sheet: Sheet, pair=None, saves=None, within=None) -> dict[str, int]:
    """The three numbers that a sheet asks for; the mistakes replace some of them."""
    d_out, d_in, r = sheet["d_out"], sheet["d_in"], sheet["r"]
    area, sides = d_out * d_in, d_out + d_in
    found = {
        "trained numbers": r * sides,
        "largest rank that saves": (area - 1) // sides,
        "largest rank within 1%": area // (100 * sides),
    }
    changed = zip(found, (pair, saves, within), strict=True)
    return found | {name: int(f(d_out, d_in, r)) for name, f in changed if f is not None}


SHEET = Task(
    name="my_ranks",
    title="2b. Your own matrix",
    points=2,
    cases=lambda generator: [],
    from_sheet=True,
    answer=on_sheet,
    observe=unseen,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(on_sheet, pair=lambda d_out, d_in, r: r * d_out * d_in),
            "Your trained numbers grow with the area. The two factors are added: one has d_out "
            "rows, the other d_in columns.",
        ),
        Misconception(
            partial(on_sheet, pair=lambda d_out, d_in, r: r * d_in),
            "Your trained numbers are those of A alone. B is trained, too.",
        ),
        Misconception(
            partial(on_sheet, saves=lambda d_out, d_in, r: d_out * d_in // (d_out + d_in) + 1),
            "Your largest rank that saves lies above the break-even rank: with it the factors "
            "have more numbers than the matrix. Round down.",
        ),
        Misconception(
            partial(on_sheet, saves=lambda d_out, d_in, r: min(d_out, d_in) // 2),
            "Half the shorter side is the break-even rank of a square matrix. Yours is not square.",
        ),
        Misconception(
            partial(on_sheet, saves=lambda d_out, d_in, r: min(d_out, d_in)),
            "The shorter side is the largest rank that the matrix can have. Far below it the "
            "factors have more numbers than the matrix already.",
        ),
        Misconception(
            partial(on_sheet, within=lambda d_out, d_in, r: min(d_out, d_in) // 100),
            "You took one per cent of the full rank. Asked for is one per cent of the matrix's "
            "numbers, shared among both factors.",
        ),
        Misconception(
            partial(on_sheet, within=lambda d_out, d_in, r: d_out * d_in // (10 * (d_out + d_in))),
            "You took ten per cent of the numbers. One per cent is a hundredth.",
        ),
    ],
    why="The break-even rank d_out d_in / (d_out + d_in) lies between half the shorter side and "
    "the whole; one per cent of the numbers is one hundredth of that rank.",
)
