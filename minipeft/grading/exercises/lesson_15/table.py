"""Task 5: somebody else's table, what differs between its rows, and its Pareto front.

Scales: alpha / r (arXiv 2106.09685, section 4.1), rsLoRA's alpha / sqrt(r) (2312.03732).
"""

from collections.abc import Callable
from functools import partial
from math import sqrt

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case, by_entry
from .asked import names_seen, scales_and_names

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


def front_cases(generator: np.random.Generator) -> Cases:
    """Tables without ties, with rows of one size, and with rows of one accuracy."""
    found = []
    for kind in ("plain", "plain", "size", "accuracy"):
        runs = 9
        sizes = [int(n) for n in np.sort(generator.permutation(900)[:runs] + 3)]
        shares = [int(n) for n in np.sort(generator.permutation(300)[:runs])]
        ranks = [0, 3, 1, 5, 4, 2, 8, 6, 7]  # by size: the front is at 0, 1, 3 and 6
        rows = [[sizes[n], shares[rank]] for n, rank in enumerate(ranks)]
        if kind == "size":
            rows[2][0], rows[5][0], rows[7][0] = rows[1][0], rows[3][0], rows[6][0]
        if kind == "accuracy":
            rows[4][1], rows[8][1] = rows[3][1], rows[6][1]
        labels = [f"run {n + 1}" for n in generator.permutation(runs)]
        unit = int(generator.integers(10_000, 100_000))
        made = [
            {
                "experiment": label,
                "accuracy": round(0.2 + share / 1000, 3),
                "file_bytes": size * unit,
            }
            for label, (size, share) in zip(labels, rows, strict=True)
        ]
        found.append([[made[n] for n in mixed(generator, kind, runs)]])
    return found


def mixed(generator: np.random.Generator, kind: str, runs: int) -> list[int]:
    """An order of the rows, in which of two rows of one size the worse comes first."""
    while True:
        order = [int(n) for n in generator.permutation(runs)]
        pairs = ((2, 1), (5, 3), (7, 6)) if kind == "size" else ()
        if all(order.index(worse) < order.index(better) for worse, better in pairs):
            return order


def no_worse(other: Row, row: Row, larger: bool = False) -> list[bool]:
    """Whether `other` is at least as good in accuracy, and in bytes."""
    sizes = (other["file_bytes"], row["file_bytes"])
    return [other["accuracy"] >= row["accuracy"], sizes[0] >= sizes[1] if larger else
            sizes[0] <= sizes[1]]  # fmt: skip


def beaten(other: Row, row: Row, larger: bool = False) -> bool:
    """At least as good in both, and better in one."""
    return all(no_worse(other, row, larger)) and not all(no_worse(row, other, larger))


def beaten_in_both(other: Row, row: Row) -> bool:
    """Better in both: a row that ties in one stays."""
    return not any(no_worse(row, other))


def pareto(rows: list[Row], beaten: Callable = beaten) -> list[str]:
    """Who is beaten by no other row; the mistakes say otherwise when a row is beaten."""
    return [row["experiment"] for row in rows if not any(beaten(other, row) for other in rows)]


def two_ends(rows: list[Row]) -> list[str]:
    """The most accurate row and the smallest."""
    best = max(rows, key=lambda row: (row["accuracy"], -row["file_bytes"]))
    small = min(rows, key=lambda row: (row["file_bytes"], -row["accuracy"]))
    return [best["experiment"], small["experiment"]]


def best_ratio(rows: list[Row]) -> list[str]:
    """As many rows as the front has, by accuracy for each byte."""
    ordered = sorted(rows, key=lambda row: -row["accuracy"] / row["file_bytes"])
    return [row["experiment"] for row in ordered[: len(pareto(rows))]]


def running_best(rows: list[Row]) -> list[str]:
    """By size, each row that is better than all before it; of equal sizes as they come."""
    found, best = [], 0.0
    for row in sorted(rows, key=lambda row: row["file_bytes"]):
        if row["accuracy"] > best:
            found.append(row["experiment"])
            best = row["accuracy"]
    return found


PARETO = Task(
    name="pareto",
    title="5b. The Pareto front",
    points=2,
    cases=front_cases,
    answer=lambda rows: pareto(rows),
    observe=names_seen,
    parts=by_case("no ties", "no ties", "equal sizes", "equal accuracies"),
    misconceptions=[
        Misconception(
            partial(pareto, beaten=beaten_in_both),
            "You keep rows that tie. A row is off the front when another is as good in one and "
            "better in the other.",
        ),
        Misconception(
            running_best,
            "Of rows with one size you keep each that is better than the one before. Sorted by "
            "size, the most accurate of them must come first.",
        ),
        Misconception(
            partial(pareto, beaten=partial(beaten, larger=True)),
            "You prefer the larger file. Fewer bytes are better.",
        ),
        Misconception(
            two_ends,
            "You keep the two ends, the best row and the smallest. Between them lie rows that no "
            "other row beats.",
        ),
        Misconception(
            best_ratio,
            "You rank by accuracy for each byte. A front needs no exchange rate between the two: a "
            "row is on it when no other beats it.",
        ),
        Misconception(
            lambda rows: [
                row["experiment"] for row in rows if row["experiment"] not in pareto(rows)
            ],
            "These are the rows that are beaten. Asked for are the others.",
        ),
    ],
    why="On the front every gain in accuracy is paid for in bytes, and which row to take is the "
    "customer's question; off it, another row is better whatever the customer wants.",
)
