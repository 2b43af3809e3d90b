"""Task 2: adapters without a nonlinearity, merged into the layer beside them or before them."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from ..lesson_12.merges import normal

BESIDE, BEHIND = "beside", "behind"


def cases(generator: np.random.Generator) -> Cases:
    """Both places, each on a square layer and on one that is not."""
    found = []
    for d_out, d_in, place in [(6, 6, BESIDE), (5, 8, BESIDE), (6, 6, BEHIND), (5, 8, BEHIND)]:
        reads = d_in if place == BESIDE else d_out
        down, up = normal(generator, 3, reads), normal(generator, d_out, 3)
        scale = float(generator.choice([0.5, 2, 4]))
        found.append([normal(generator, d_out, d_in), down, up, scale, place])
    return found


def beside(weight, down, up, s):
    """W0 + s up down."""
    return weight + s * (up @ down)


def behind(weight, down, up, s):
    """(I + s up down) W0."""
    return weight + s * (up @ down) @ weight


def merge_straight(weight, down, up, s, place, second: Callable = behind):
    """One matrix for layer and adapter; some mistakes differ for the adapter behind."""
    return beside(weight, down, up, s) if place == BESIDE else second(weight, down, up, s)


def in_place(weight, down, up, s, place):
    """The right sum, written over the given weight."""
    weight += s * (up @ down) @ (np.eye(weight.shape[1]) if place == BESIDE else weight)
    return weight


def turned(weight, down, up, s, place):
    """The product of the two matrices turned over, which square layers alone allow."""
    return merge_straight(weight, up.T, down.T, s, place)


MERGE = Task(
    name="merge_straight",
    title="2. Merge a straight adapter",
    points=3,
    cases=cases,
    answer=merge_straight,
    calls=2,
    parts=by_case(BESIDE, BESIDE, BEHIND, BEHIND),
    misconceptions=[
        Misconception(
            lambda weight, down, up, s, place: beside(weight, down, up, s),
            "You merge an adapter behind the layer as if it stood beside it. It reads what the "
            "layer gives, W0 y, so its product meets W0 from the left.",
        ),
        Misconception(
            lambda weight, down, up, s, place: behind(weight, down, up, s),
            "You merge an adapter beside the layer as if it stood behind it. It reads the layer's "
            "input, so W0 is no factor of what it adds.",
        ),
        Misconception(
            partial(
                merge_straight,
                second=lambda weight, down, up, s: weight + s * weight @ (up @ down),
            ),
            "The factors are in the wrong order. The layer acts first, so its matrix stands on "
            "the right: (I + s up down) W0.",
        ),
        Misconception(
            partial(
                merge_straight, second=lambda weight, down, up, s: s * (up @ down) @ weight
            ),
            "The skip is missing for the adapter behind: the layer's own output stays, so the "
            "factor is I + s up down.",
        ),
        Misconception(
            lambda weight, down, up, s, place: merge_straight(weight, down, up, 1.0, place),
            "The scale s was dropped.",
        ),
        Misconception(
            turned,
            "The product is turned over. up @ down has as many rows as the layer has outputs; on "
            "a square layer its transpose fits as well, and is wrong.",
        ),
        Misconception(
            in_place,
            "Your function changes the weight that it is given: a second call merges twice. "
            "Return a new matrix.",
        ),
    ],
    why="Without a nonlinearity everything from the layer's input to its output is linear, so one "
    "matrix does it: W0 + s up down beside the layer, which is LoRA, (I + s up down) W0 behind it.",
)
