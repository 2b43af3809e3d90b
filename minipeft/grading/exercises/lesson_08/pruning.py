"""Task 5a: keep the largest entries of a gated difference.

Guo, Rush, Kim 2021, arXiv 2012.07463, section 3.3.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task
from .asked import kept_seen


def cases(generator: np.random.Generator) -> Cases:
    """Differences with gates, three sizes; whole numbers of entries are kept.

    No two entries of z w have the same size, and the largest w have small gates.
    """
    found = []
    for rows, columns, keep in [(4, 5, 0.25), (6, 5, 0.1), (5, 8, 0.3)]:
        n = rows * columns
        sizes = generator.permutation(np.linspace(0.2, 2, n)) * generator.choice([-1, 1], n)
        z = np.clip(1.2 - np.abs(sizes) / 2 + generator.uniform(-0.05, 0.05, n), 0.05, 1)
        z[generator.permutation(n)[: n // 5]] = 0
        shape = (rows, columns)
        found.append([sizes.reshape(shape).astype("f4"), z.reshape(shape).astype("f4"), keep])
    return found


def prune(
    w, z, keep,
    size: Callable = lambda w, z: np.abs(z * w),
    value: Callable = lambda w, z: z * w,
    count: Callable = lambda keep, n: round(keep * n),
    largest: bool = True,
):  # fmt: skip
    """(positions, values) of the entries that are kept; the mistakes differ in one step."""
    w, z = (np.asarray(part, np.float64) for part in (w, z))
    order = np.argsort(size(w, z).ravel(), kind="stable")
    k = count(keep, w.size)
    places = np.sort(order[::-1][:k] if largest else order[:k])
    return places, value(w, z).ravel()[places]


def by_row(w, z, keep):
    """The same share of each row."""
    k = max(1, round(keep * np.shape(w)[1]))
    d = np.asarray(z, np.float64) * w
    best = np.sort(np.argsort(np.abs(d), axis=1)[:, ::-1][:, :k], axis=1)
    places = (best + np.shape(w)[1] * np.arange(len(d))[:, None]).ravel()
    return places, d.ravel()[places]


PRUNE = Task(
    name="prune",
    title="5a. Prune",
    points=2,
    cases=cases,
    answer=prune,
    observe=kept_seen,
    misconceptions=[
        Misconception(
            partial(prune, size=lambda w, z: np.abs(w)),
            "You chose by the size of w. A large w behind a closed gate changes nothing: what acts "
            "is z * w.",
        ),
        Misconception(
            partial(prune, size=lambda w, z: z * w),
            "You chose the largest with their sign. A large negative entry matters as much: "
            "compare absolute values.",
        ),
        Misconception(
            partial(prune, value=lambda w, z: w),
            "The positions are right, the values are those of w. What is kept is z * w, as it "
            "acted.",
        ),
        Misconception(
            partial(prune, value=lambda w, z: np.abs(z * w)),
            "The positions are right, but the values have lost their sign.",
        ),
        Misconception(
            partial(prune, largest=False),
            "You kept the smallest entries. Those are the ones to leave out.",
        ),
        Misconception(
            by_row,
            "You kept the same share of each row. The largest of the whole matrix are kept, "
            "wherever they are.",
        ),
        Misconception(
            partial(prune, count=lambda keep, n: n - round(keep * n)),
            "You removed the share `keep` in place of keeping it.",
        ),
    ],
    why="What the file needs is where the difference is not zero, and what it is there: z * w as "
    "it acts in use, the largest by size.",
)
