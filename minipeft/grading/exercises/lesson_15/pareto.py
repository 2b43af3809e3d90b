"""Task 5b: the Pareto front of accuracy and bytes."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import names_seen
from .settings import Row


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
