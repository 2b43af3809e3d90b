"""Task 5a: what differs between two rows of somebody else's table beside their method.

Scales: alpha / r (arXiv 2106.09685, section 4.1), rsLoRA's alpha / sqrt(r) (2312.03732).
"""

from collections.abc import Callable
from functools import partial
from math import sqrt

import numpy as np

from ...tasks import Cases, Misconception, Task, by_entry
from .asked import scales_and_names

QV, MLP, FOUR = "q_proj v_proj", "down_proj gate_proj up_proj", "k_proj o_proj q_proj v_proj"
ROOTS = (2, 4, 8, 16)  # of ranks whose root is whole, so that equal scales are equal floats
Row = dict[str, object]


def a_row(r: int, alpha: int, use_rslora: bool, rate: float, targets: str) -> Row:
    """One row of a comparison, as far as its update's size and place go."""
    return {
        "r": r,
        "alpha": alpha,
        "use_rslora": use_rslora,
        "learning_rate": rate,
        "targets": targets,
    }


def turned(targets: str) -> str:
    """The same matrices, in another order."""
    return " ".join(reversed(targets.split()))


def row_cases(generator: np.random.Generator) -> Cases:
    """Pairs that differ in what is asked for, and in what only looks like a difference."""
    root, other = sorted(int(n) for n in generator.permutation(ROOTS)[:2])
    r, wide = root**2, other**2
    times = int(generator.choice([n for n in (2, 4, 8) if n != root]))
    odd = int(generator.choice([6, 10, 12, 20, 24, 40]))
    slow = round(float(generator.uniform(5e-5, 2e-4)), 6)
    fast = 3 * slow
    return [
        [a_row(r, times * r, False, slow, QV), a_row(r, r, True, slow, QV)],
        [a_row(r, times * r, False, slow, QV), a_row(wide, times * wide, False, slow, QV)],
        [a_row(r, times * r, False, slow, FOUR), a_row(r, times * root, True, slow, FOUR)],
        [a_row(odd, odd, False, slow, MLP), a_row(odd, odd, False, fast, turned(MLP))],
        [a_row(odd, 2 * odd, True, slow, QV), a_row(r, 2 * r, False, slow, MLP)],
        [a_row(wide, wide, True, fast, FOUR), a_row(r, r, True, slow, turned(FOUR))],
    ]


def scale_of(row: Row) -> float:
    """What B A is multiplied by."""
    return row["alpha"] / (sqrt(row["r"]) if row["use_rslora"] else row["r"])


def places_of(row: Row) -> object:
    """The matrices, in any order."""
    return set(row["targets"].split())


SETTINGS = {
    "learning_rate": lambda row: row["learning_rate"],
    "r": lambda row: row["r"],
    "scale": scale_of,
    "targets": places_of,
}


def compare_rows(
    first: Row, second: Row, scale: Callable = scale_of, **others: Callable
) -> dict[str, list]:
    """{"scales", "differ"}; the mistakes read a setting otherwise."""
    settings = SETTINGS | {"scale": scale} | others
    return {
        "scales": [float(scale(first)), float(scale(second))],
        "differ": [name for name, read in settings.items() if read(first) != read(second)],
    }


def alpha_too(first: Row, second: Row) -> dict[str, list]:
    """alpha as a stand-in for the scale, where both are compared."""
    found = compare_rows(first, second, scale=lambda row: row["alpha"])
    return compare_rows(first, second) | {"differ": found["differ"]}


COMPARE = Task(
    name="compare_rows",
    title="5a. What else differs?",
    points=2,
    cases=row_cases,
    answer=lambda first, second: compare_rows(first, second),
    observe=scales_and_names,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(compare_rows, scale=lambda row: row["alpha"] / row["r"]),
            "You divide alpha by r everywhere. With `use_rslora` the scale is alpha / sqrt(r).",
        ),
        Misconception(
            partial(compare_rows, scale=lambda row: row["alpha"] / sqrt(row["r"])),
            "You divide by sqrt(r) everywhere. That is rsLoRA's scale; plain LoRA's is alpha / r.",
        ),
        Misconception(
            partial(compare_rows, scale=lambda row: row["alpha"]),
            "Your scale is alpha alone. What multiplies B A is alpha / r, or alpha / sqrt(r).",
        ),
        Misconception(
            alpha_too,
            "You compare alpha where the scale is asked for. One scale may be written with two "
            "alphas, and one alpha makes two scales.",
        ),
        Misconception(
            partial(compare_rows, targets=lambda row: row["targets"]),
            "You compare the targets letter by letter. The same matrices in another order are the "
            "same targets.",
        ),
        Misconception(
            partial(compare_rows, use_rslora=lambda row: row["use_rslora"]),
            "You name `use_rslora` as a difference of its own. All that it changes is the scale.",
        ),
        Misconception(
            partial(compare_rows, scale=lambda row: row["r"] / scale_of(row | {"r": 1})),
            "Your scale is turned over: alpha is divided by r, not r by alpha.",
        ),
    ],
    why="A row shows the sum of all its settings. Two rows compare their methods only where "
    "nothing else differs, or where each had its settings tuned.",
)
