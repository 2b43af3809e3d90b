"""Task 4, the bug zoo: DoRA layers that ran without a complaint, told by their numbers."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, every_twice, one_name_for_all
from .core import normal, row_norms

HEALTHY = "healthy"
ONES = "started at ones"
STALE = "norm of W0"
COLUMNS = "by columns"
BIAS = "bias scaled"
NO_SCALE = "scale dropped"
SPECIMENS = [HEALTHY, ONES, STALE, COLUMNS, BIAS, NO_SCALE]
Outputs = dict[str, np.ndarray]


def outputs(record: dict) -> Outputs:
    """What the layer of the record would answer, right and with each bug."""
    weight, bias, x, m = (record[key] for key in ("weight", "bias", "x", "magnitude"))
    BA = record["B"] @ record["A"]
    V, unscaled = weight + record["alpha"] / len(record["A"]) * BA, weight + BA
    return {
        HEALTHY: (x @ V.T) * (m / row_norms(V)) + bias,
        STALE: (x @ V.T) * (m / row_norms(weight)) + bias,
        COLUMNS: x @ (m * V / np.linalg.norm(V, axis=0)).T + bias,
        BIAS: (x @ V.T + bias) * (m / row_norms(V)),
        NO_SCALE: (x @ unscaled.T) * (m / row_norms(unscaled)) + bias,
    }


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one square layer with one bug (or none)."""
    d, r, scale = int(generator.integers(6, 11)), 3, float(generator.choice([2, 4]))
    record = {
        "weight": normal(generator, d, d),
        "bias": 2 * normal(generator, d),
        "A": normal(generator, r, d),
        "B": normal(generator, d, r),
        "alpha": scale * r,
        "x": normal(generator, 4, d),
    }
    axis = 0 if bug == COLUMNS else 1
    start = np.ones(d) if bug == ONES else np.linalg.norm(record["weight"], axis=axis)
    start = start.astype(np.float32)
    record |= {"start": start, "magnitude": start * generator.uniform(0.7, 1.4, d).astype("f4")}
    return record | {"h": outputs(record)[HEALTHY if bug == ONES else bug]}


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def diagnose(record: dict, blind_to: str | None = None, instead: str = HEALTHY) -> str:
    """What is wrong with the layer; a wrong answer is one that is blind to some bug."""
    found = next(
        bug for bug, h in outputs(record).items() if np.allclose(record["h"], h, atol=1e-3)
    )
    if found == HEALTHY and np.allclose(record["start"], 1):
        found = ONES
    return instead if found == blind_to else found


def taken_for(bug: str, other: str) -> Callable[[dict], str]:
    """The diagnosis of somebody who calls one bug by the name of another."""
    return partial(diagnose, blind_to=bug, instead=other)


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
            "You call every layer healthy. None of them raised an error: the numbers tell.",
        ),
        Misconception(
            taken_for(ONES, HEALTHY),
            "You miss the layers that started at ones. Their answers are right for the magnitudes "
            "that they have; look at the magnitudes that they had at the start.",
        ),
        Misconception(
            taken_for(STALE, HEALTHY),
            "You take the norm of W0 for the right one. It is right at the start alone: divide by "
            "the norm of V = W0 + s B A.",
        ),
        Misconception(
            taken_for(COLUMNS, HEALTHY),
            "You take columns for rows. On a square layer both run: compare the numbers.",
        ),
        Misconception(
            taken_for(BIAS, HEALTHY),
            "You miss the scaled bias. Take the bias away from `h` before you divide by m / ||V||.",
        ),
        Misconception(
            taken_for(NO_SCALE, HEALTHY),
            "You miss the dropped scale: there V is W0 + B A. Right is W0 + (alpha / r) B A.",
        ),
        Misconception(
            taken_for(NO_SCALE, STALE),
            "You call a dropped scale a norm of W0. Both change how long a row is; a dropped scale "
            "changes where it points, too.",
        ),
    ],
    why="A DoRA layer has two invariants: it starts at the base, and its rows are as long as m "
    "says. A test of the start alone finds one of these five bugs.",
)
