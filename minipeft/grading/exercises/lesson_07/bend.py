"""Task 5a: how bent an adapter is, by least squares."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from ..lesson_12.merges import normal


def swish(v: np.ndarray) -> np.ndarray:
    """v / (1 + exp(-v)), near v / 2 for small v."""
    return v / (1 + np.exp(-v))


def cases(generator: np.random.Generator) -> Cases:
    """Adapters whose bottleneck sees small, middling and large numbers; no mean is zero."""
    found = []
    for size in (0.4, 1.5, 6.0):
        d, d_out, r = 5, 7, 3
        z = normal(generator, 120, d) + normal(generator, d)
        down, up = normal(generator, r, d) * size / d, normal(generator, d_out, r)
        added = swish(z @ down.T + size / 2) @ up.T + normal(generator, d_out)
        found.append([z, added.astype(np.float32)])
    return found


def affine_fit(z: np.ndarray, added: np.ndarray, intercept: bool = True) -> np.ndarray:
    """The values of the affine map of z that is nearest to `added`."""
    z = z.astype(np.float64)
    columns = np.column_stack([z, np.ones(len(z))]) if intercept else z
    return columns @ np.linalg.lstsq(columns, added, rcond=None)[0]


def centred(added: np.ndarray) -> np.ndarray:
    """Without the mean of each column."""
    return added - added.mean(axis=0)


def bend(z, added, below: Callable = centred, power=1, intercept=True) -> float:
    """||added - fit|| / ||added - mean||; some mistakes divide by another norm."""
    added = added.astype(np.float64)
    missed = added - affine_fit(z, added, intercept)
    return float((np.linalg.norm(missed) / np.linalg.norm(below(added))) ** power)


def one_way(z, added) -> float:
    """Fits z from what was added."""
    return bend(added, z)


BEND = Task(
    name="bend",
    title="5a. How bent is it?",
    points=3,
    cases=cases,
    answer=bend,
    tolerance=2e-3,
    parts=by_case("small numbers", "middling numbers", "large numbers"),
    trivial=[lambda z, added: 0.0, lambda z, added: 1.0],
    misconceptions=[
        Misconception(
            partial(bend, intercept=False),
            "Your copy has no constant. An adapter has biases, and an affine map M z + b may have "
            "one: add a column of ones to z.",
        ),
        Misconception(
            partial(bend, below=lambda added: added),
            "You divide by what was added as a whole. Its mean is no achievement of the copy: "
            "take the mean of each column off.",
        ),
        Misconception(
            partial(bend, power=2),
            "This is the share of the squares. Asked for is the ratio of the norms, its root.",
        ),
        Misconception(
            lambda z, added: 1 - bend(z, added),
            "This is what the copy does not miss, 1 less the ratio. Asked for is what it misses.",
        ),
        Misconception(
            lambda z, added: 1 - bend(z, added, power=2),
            "This is the share of the variance that the copy explains. Asked for is what it "
            "misses, as a ratio of norms.",
        ),
        Misconception(
            one_way,
            "You fit z from what was added. The copy reads z, and gives what the adapter adds.",
        ),
        Misconception(
            partial(bend, below=lambda added: added - added.mean()),
            "You take one mean off all numbers. Each column, an output of the adapter, has its "
            "own.",
        ),
    ],
    why="No straight adapter is nearer than the least-squares fit, so what it misses is the work "
    "of the nonlinearity on these inputs. On others it may be more.",
)
