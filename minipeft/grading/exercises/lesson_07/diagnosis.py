"""Task 4, the bug zoo: adapters that ran without a complaint, told by their numbers."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..lesson_12.merges import normal
from ..zoo import always, every_twice, misnamed, one_name_for_all
from .layer import act_last, add_adapter, network

HEALTHY = "healthy"
NO_SKIP = "skip missing"
TWICE = "skip twice"
STRAIGHT = "nonlinearity missing"
LAST = "nonlinearity last"
NO_SCALE = "scale dropped"
READS_H = "reads h"
SPECIMENS = [HEALTHY, NO_SKIP, TWICE, STRAIGHT, LAST, NO_SCALE, READS_H]


def outputs(record: dict) -> dict[str, np.ndarray]:
    """What the record's adapter gives when it is healthy, and with each of the bugs."""
    z, h = record["z"], record["h"]
    parts = [record[name] for name in ("down", "b_down", "up", "b_up")]
    s = record["s"]
    return {
        HEALTHY: add_adapter(z, h, *parts, s),
        NO_SKIP: add_adapter(z, h, *parts, s, skip=lambda z, h: 0),
        TWICE: add_adapter(z, h, *parts, s, skip=lambda z, h: 2 * h),
        STRAIGHT: add_adapter(z, h, *parts, s, act=lambda v: v),
        LAST: act_last(z, h, *parts, s),
        NO_SCALE: add_adapter(z, h, *parts, 1.0),
        READS_H: add_adapter(h, h, *parts, s),
    }


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one adapter with one bug (or none)."""
    d, r = int(generator.integers(6, 10)), int(generator.integers(3, 6))
    z, h = normal(generator, 12, d), normal(generator, 12, d)
    names = ("down", "b_down", "up", "b_up", "s")
    record = {"z": z, "h": h} | dict(zip(names, network(generator, d, r), strict=True))
    return record | {"out": outputs(record)[bug].astype(np.float32)}


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def diagnose(record: dict) -> str:
    """The bug whose output the record shows."""
    found = outputs(record)
    return min(found, key=lambda bug: np.abs(found[bug] - record["out"]).max())


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
            "You call every adapter healthy. None of them raised an error: compare `out` with the "
            "equation.",
        ),
        Misconception(
            partial(misnamed, diagnose, {NO_SCALE: HEALTHY, HEALTHY: NO_SCALE}),
            "You take h + c, without the scale, for the right sum. Right is h + s c.",
        ),
        Misconception(
            partial(misnamed, diagnose, {NO_SKIP: TWICE, TWICE: NO_SKIP}),
            "You have exchanged the two bugs of the skip: where it is missing, `out` is s c; where "
            "it is there twice, 2 h + s c.",
        ),
        Misconception(
            partial(misnamed, diagnose, {LAST: STRAIGHT}),
            "You take a nonlinearity in the last place for a missing one. Behind up it still acts: "
            "`out - h` has no negative number.",
        ),
        Misconception(
            partial(misnamed, diagnose, {STRAIGHT: LAST}),
            "You take a missing nonlinearity for one in the last place. There `out - h` has "
            "negative numbers, too.",
        ),
        Misconception(
            partial(misnamed, diagnose, {READS_H: HEALTHY}),
            "You miss the adapter that reads h. Its equation is right and its input is not: it "
            "should read z.",
        ),
        Misconception(
            partial(misnamed, diagnose, {TWICE: HEALTHY}),
            "You miss the skip that is there twice: `out - s c` is 2 h, not h.",
        ),
    ],
    why="One equation, h + s (up act(down z + b_down) + b_up), tells all of them apart, entry by "
    "entry. At step 0, where up is zero, four of the six bugs cannot be seen at all.",
)
