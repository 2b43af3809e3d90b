"""Task 5, the bug zoo: low-rank copies that were made and measured without a complaint."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, one_name_for_all
from .cutting import of_spectrum

HEALTHY = "healthy"
WEAKEST = "weakest kept"
TWICE = "values twice"
TURNED = "transposed"
ROOT = "root missing"
FLAT = "flat tolerance"
SPECIMENS = [HEALTHY, WEAKEST, TWICE, TURNED, ROOT, FLAT]
RELATIVE, FLAT_AT = 1e-3, 0.01
SCALES = (4.0, 0.02)  # of the strongest component, so that flat tolerances fail


def spectrum(generator: np.random.Generator, d: int, scale: float) -> np.ndarray:
    """Six strong components, two weak ones that count, and noise that doesn't."""
    strong = np.cumprod([1, *generator.uniform(0.6, 0.8, 5)])
    noise = np.geomspace(1e-4, 5e-5, d - 8)
    return scale * generator.uniform(0.9, 1.1) * np.concatenate([strong, [3e-3, 2e-3], noise])


def specimen(generator: np.random.Generator, bug: str, scale: float) -> dict[str, object]:
    """The record of one low-rank copy with one bug (or none)."""
    d, r = int(generator.integers(10, 15)), int(generator.integers(2, 4))
    values = spectrum(generator, d, scale)
    matrix = of_spectrum(generator, d, d, values)
    U, S, V = np.linalg.svd(matrix)
    best = (U[:, :r] * S[:r]) @ V[:r]
    copy = {
        WEAKEST: (U[:, -r:] * S[-r:]) @ V[-r:],
        TWICE: (U[:, :r] * S[:r] ** 2) @ V[:r],
        TURNED: best.T,
    }.get(bug, best)
    share = ((matrix - copy) ** 2).sum() / (matrix**2).sum()
    return {
        "matrix": matrix,
        "r": r,
        "copy": copy,
        "error": float(share if bug == ROOT else np.sqrt(share)),
        "rank": int((values > (FLAT_AT if bug == FLAT else RELATIVE * values[0])).sum()),
    }


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen large and small, in a random order."""
    pairs = [(bug, scale) for bug in SPECIMENS for scale in SCALES]
    return [[specimen(generator, *pairs[place])] for place in generator.permutation(len(pairs))]


def diagnose(record: dict, apart=1e-4, least=RELATIVE, root=0.5, blind_to=()) -> str:
    """What is wrong; a wrong answer compares otherwise or is blind to some bugs.

    apart: how far entries may be off; least: from where on a singular value counts. Both are shares
    of the largest singular value, or flat numbers where they are negative.
    """
    matrix, copy, r = record["matrix"], record["copy"], record["r"]
    U, S, V = np.linalg.svd(matrix)
    apart, least = (share * S[0] if share > 0 else -share for share in (apart, least))
    share = ((matrix - copy) ** 2).sum() / (matrix**2).sum()
    best = (U[:, :r] * S[:r]) @ V[:r]
    made = {HEALTHY: best, TWICE: (U[:, :r] * S[:r] ** 2) @ V[:r], TURNED: best.T}
    fits = [name for name, right in made.items() if np.abs(copy - right).max() < apart]
    if HEALTHY not in fits:
        found = fits[0] if fits else WEAKEST
    elif abs(record["error"] - share**root) > 1e-4:
        found = ROOT
    elif record["rank"] != (S > least).sum():
        found = FLAT
    else:
        found = HEALTHY
    return HEALTHY if found in blind_to else found


def bad_is_weakest(record: dict) -> str:
    """One name for every bad copy."""
    found = diagnose(record)
    return WEAKEST if found in (TWICE, TURNED) else found


DIAGNOSE = Task(
    name="diagnose",
    title="5. The bug zoo",
    points=3,
    cases=cases,
    answer=diagnose,
    parts=by_answer,
    trivial=one_name_for_all(SPECIMENS),
    misconceptions=[
        Misconception(
            partial(always, HEALTHY),
            "You call every copy healthy. None of them raised an error: the numbers tell.",
        ),
        Misconception(
            partial(diagnose, blind_to=(WEAKEST, TWICE, TURNED)),
            "You trust a copy whose error was measured rightly. An honest error of a bad copy is "
            "still larger than that of the best one: make the best copy yourself and compare.",
        ),
        Misconception(
            partial(diagnose, apart=-0.05),
            "You compare entries with a flat tolerance. In a small matrix everything is close to "
            "everything: compare relative to the matrix's own size.",
        ),
        Misconception(
            partial(diagnose, root=1),
            "You expect the missing share of the energy. The relative error is its root.",
        ),
        Misconception(
            partial(diagnose, least=FLAT_AT),
            "You call a right rank wrong. It counts the singular values of `matrix` above a "
            "thousandth of the largest: two weak components are, the noise below them isn't.",
        ),
        Misconception(
            partial(diagnose, least=-RELATIVE),
            "You count above 1e-3 flat, as the author with the bug did above 0.01. Multiply the "
            "tolerance by the largest singular value.",
        ),
        Misconception(
            bad_is_weakest,
            "You name every bad copy alike. With `S` squared, or by turning the best copy over, "
            "you can make the two other kinds yourself and compare.",
        ),
        Misconception(
            partial(diagnose, blind_to=(FLAT,)),
            "You miss the flat tolerance. Count the singular values of `matrix` that are above "
            "1e-3 times the largest.",
        ),
    ],
    why="The SVD gives the best copy, its error and the rank at once, each of them relative to the "
    "matrix itself. A copy, an error or a rank that differs was made another way.",
)
