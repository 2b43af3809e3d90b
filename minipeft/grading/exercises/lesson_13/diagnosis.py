"""Task 4, the bug zoo: batches that were served without an error, and wrongly."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, every_twice, misnamed, one_name_for_all

HEALTHY = "healthy"
SWAPPED = "swapped names"
ORDER = "names out of order"
CACHE = "another's cache"
SCALE = "another scale"
BARE = "base alone"
SPECIMENS = [HEALTHY, SWAPPED, ORDER, CACHE, SCALE, BARE]


def on_grid(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Multiples of 1/16 in float32: products of a few of them are nearly exact."""
    return np.round(16 * generator.normal(size=shape)).astype(np.float32) / 16


def chain(record: dict, first, second, scale: float, pairs=(0, 1)) -> np.ndarray:
    """Two layers in turn, each sample with its own pair in either layer.

    first, second: the adapter of each sample in the first and second layer. pairs: which layer's
    A and B stand in the first and in the second.
    """
    h = record["x"]
    for layer, (which, pair) in enumerate(zip((first, second), pairs, strict=True)):
        low = np.einsum("bri,bi->br", record["A"][which, pair], h)
        update = np.einsum("bor,br->bo", record["B"][which, pair], low)
        h = h @ record["W"][layer].T + scale * update
    return h


def stories(record: dict) -> dict[str, np.ndarray]:
    """What would have been served under each name."""
    names, r = np.asarray(record["names"]), record["A"].shape[2]
    right, none, before = record["alpha"] / r, 0.0, np.roll(names, 1)
    return {
        HEALTHY: chain(record, names, names, right),
        SWAPPED: chain(record, names, names, right, (1, 0)),
        ORDER: chain(record, before, before, right),
        CACHE: chain(record, 0 * names, names, right),
        SCALE: chain(record, names, names, record["alpha"] / np.sqrt(r)),
        BARE: chain(record, names, names, none),
    }


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one batch with one bug (or none)."""
    d, n, r, batch = int(generator.integers(5, 9)), 4, 3, 6
    names = generator.permutation([*range(n), *generator.integers(0, n, batch - n)])
    while (names == np.roll(names, 1)).sum() > 2:  # a shift must show
        names = generator.permutation([*range(n), *generator.integers(0, n, batch - n)])
    record = {
        "W": on_grid(generator, 2, d, d),
        "A": on_grid(generator, n, 2, r, d),
        "B": on_grid(generator, n, 2, d, r),
        "alpha": float(generator.choice([6, 9, 12])),
        "names": names,
        "x": on_grid(generator, batch, d),
    }
    return record | {"served": stories(record)[bug].astype(np.float32)}


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def diagnose(record: dict, blind_to: str | None = None) -> str:
    """The name under which the record would have been served so; some answers miss a name."""
    far = {
        name: np.abs(served - record["served"]).max()
        for name, served in stories(record).items()
        if name != blind_to
    }
    nearest = min(far, key=far.__getitem__)
    return nearest if far[nearest] < 1e-2 * np.abs(record["served"]).max() else HEALTHY


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
            "You call every batch healthy. None of them raised an error: serve it yourself, and "
            "compare.",
        ),
        Misconception(
            partial(diagnose, blind_to=SWAPPED),
            "You miss the swapped names: the pair of the first layer stands in the second, and "
            "the other way round. All shapes agree.",
        ),
        Misconception(
            partial(diagnose, blind_to=CACHE),
            "You miss the other adapter's cache: the first layer ran under adapter 0, the second "
            "under the one that was asked for.",
        ),
        Misconception(
            partial(diagnose, blind_to=SCALE),
            "You miss the other scale: alpha over the root of r in place of alpha over r.",
        ),
        Misconception(
            partial(misnamed, diagnose, {CACHE: ORDER}),
            "You call another's cache a wrong order of names. There both layers ran under the "
            "wrong adapter; here the second ran under the right one.",
        ),
        Misconception(
            partial(misnamed, diagnose, {ORDER: CACHE}),
            "You call a wrong order of names another's cache. There the second layer ran under "
            "the right adapter; here both ran under that of the request before.",
        ),
        Misconception(
            partial(misnamed, diagnose, {BARE: SCALE}),
            "You call a base alone another scale. Without any adapter the second scale would not "
            "matter: what was served is x through W0 and W1.",
        ),
        Misconception(
            partial(misnamed, diagnose, {SWAPPED: SCALE}),
            "You call swapped names another scale. A scale makes each update longer and turns "
            "none of them.",
        ),
    ],
    why="Each bug is one change of the way in which a request was served. Serve the batch in each "
    "of these ways, and the one that gives the recorded answer is the diagnosis.",
)
