"""Task 4, the bug zoo: merges that ran without a complaint, told by their numbers."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, every_twice, misnamed, one_name_for_all
from .merges import normal

HEALTHY = "healthy"
NO_SCALE = "scale dropped"
TWICE = "merged twice"
TURNED = "transposed"
DROPOUT = "dropout active"
OTHER_BASE = "another base"
SPECIMENS = [HEALTHY, NO_SCALE, TWICE, TURNED, DROPOUT, OTHER_BASE]


def on_grid(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Multiples of 2^-bits, so that sums and products stay exact in float32."""
    return np.round(numbers * 2**bits).astype(np.float32) / 2**bits


def trained_pair(generator: np.random.Generator, d: int, r: int) -> tuple[np.ndarray, np.ndarray]:
    """(A, B) whose product has no zero, so that it can be divided by."""
    while True:
        A, B = (on_grid(normal(generator, *shape), 6) for shape in ((r, d), (d, r)))
        if (B @ A).all():
            return A, B


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one merge with one bug (or none)."""
    d, r, scale = int(generator.integers(10, 16)), 3, float(generator.choice([2, 4]))
    weight = on_grid(normal(generator, d, d), 12)
    A, B = trained_pair(generator, d, r)
    update = scale * (B @ A)
    kept = generator.permutation(d) < d // 2  # inputs that dropout left alone, doubled
    other = weight + on_grid(normal(generator, d, d) / 8, 12)
    merged = {
        HEALTHY: weight + update,
        NO_SCALE: weight + B @ A,
        TWICE: weight + 2 * update,
        TURNED: weight + update.T,
        DROPOUT: weight + 2 * update * kept,
        OTHER_BASE: other + update,
    }[bug]
    return {"weight": weight, "A": A, "B": B, "alpha": scale * r, "merged": merged}


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def diagnose(record: dict, blind_to: str | None = None) -> str:
    """What is wrong with the merge; a wrong answer is one that is blind to some bug."""
    BA = record["B"] @ record["A"]
    update = record["alpha"] / len(record["A"]) * BA
    change = record["merged"] - record["weight"]
    columns = np.isclose(change, 0, atol=1e-3).all(axis=0)
    signs = {
        NO_SCALE: np.allclose(change, BA, atol=1e-3),
        TWICE: np.allclose(change, 2 * update, atol=1e-3),
        TURNED: np.allclose(change, update.T, atol=1e-3),
        DROPOUT: bool(columns.any()),
        OTHER_BASE: not np.allclose(change, update, atol=1e-3),
    }
    return next((bug for bug, sign in signs.items() if sign and bug != blind_to), HEALTHY)


DIAGNOSE = Task(
    name="diagnose",
    title="4. The bug zoo",
    points=4,
    cases=cases,
    answer=diagnose,
    parts=by_answer,
    trivial=one_name_for_all(SPECIMENS),
    misconceptions=[
        Misconception(
            partial(always, HEALTHY),
            "You call every merge healthy. None of them raised an error: the numbers tell.",
        ),
        Misconception(
            partial(misnamed, diagnose, {HEALTHY: TWICE, NO_SCALE: HEALTHY}),
            "You take W0 + B A for the right merge. Right is W0 + (alpha / r) B A.",
        ),
        Misconception(
            partial(misnamed, diagnose, {TURNED: HEALTHY}),
            "You take the transposed update for a right one. It has the same size and other "
            "entries: compare the matrices, not their norms.",
        ),
        Misconception(
            partial(misnamed, diagnose, {DROPOUT: TWICE}),
            "You take the merge with dropout for a double one. What dropout left is doubled here, "
            "but whole columns are missing.",
        ),
        Misconception(
            partial(diagnose, blind_to=DROPOUT),
            "You take the merge with dropout for another base. Look at the columns of "
            "`merged - weight`: some are zero, the others are the update times a constant.",
        ),
        Misconception(
            partial(diagnose, blind_to=OTHER_BASE),
            "You miss the other base. There `merged - weight` is no multiple of B A at all: the "
            "adapter was added to a weight that it had not been trained on.",
        ),
        Misconception(
            lambda record: diagnose(record, blind_to=NO_SCALE).replace(OTHER_BASE, NO_SCALE),
            "You call another base a dropped scale. After a dropped scale `merged - weight` is "
            "exactly B A.",
        ),
    ],
    why="A merge has one invariant: merged - W0 is (alpha / r) B A, entry by entry. Each bug "
    "breaks it in its own way, and none of them raises an error.",
)
