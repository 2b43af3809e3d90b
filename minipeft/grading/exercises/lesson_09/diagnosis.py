"""Task 4, the bug zoo: prefixes that were read without a complaint, told by what was passed on."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, every_twice, one_name_for_all
from .cache import as_cache, keys_first
from .prompt import normal

HEALTHY = "healthy"
SWAPPED = "axes swapped"
KEYS_FIRST = "keys first"
HIDDEN = "hidden"
NOT_MOVED = "text not moved"
EXCHANGED = "keys for values"
SPECIMENS = [HEALTHY, SWAPPED, KEYS_FIRST, EXCHANGED, HIDDEN, NOT_MOVED]


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one call with one bug (or none). There are as many heads as virtual tokens."""
    n, layers = (int(number) for number in generator.integers(2, 5, size=2))
    head_dim, length = (int(number) for number in generator.integers(3, 8, size=2))
    P = normal(generator, n, layers * 2 * n * head_dim)
    right = as_cache(P, layers, n)
    cache = {
        SWAPPED: as_cache(P, layers, n, order=(1, 2, 0, 3, 4)),
        KEYS_FIRST: keys_first(P, layers, n),
        EXCHANGED: right[:, ::-1],
    }.get(bug, right)
    mask = np.ones(n + length, dtype=np.int64)
    mask[:n] = bug != HIDDEN
    positions = np.arange(length) + (0 if bug == NOT_MOVED else n)
    record = {"P": P, "layers": layers, "heads": n, "cache": np.ascontiguousarray(cache)}
    return record | {"attention_mask": mask, "position_ids": positions}


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def diagnose(record: dict, blind_to: str | None = None) -> str:
    """What is wrong with the call; a wrong answer is one that is blind to some bug."""
    P, layers, heads, cache = (record[name] for name in ("P", "layers", "heads", "cache"))
    right = as_cache(P, layers, heads)
    signs = {
        SWAPPED: np.array_equal(cache, right.transpose(0, 1, 3, 2, 4)),
        KEYS_FIRST: np.array_equal(cache, keys_first(P, layers, heads)),
        EXCHANGED: np.array_equal(cache, right[:, ::-1]),
        HIDDEN: not np.all(record["attention_mask"]),
        NOT_MOVED: record["position_ids"][0] == 0,
    }
    return next((bug for bug, sign in signs.items() if sign and bug != blind_to), HEALTHY)


def shapes_alone(record: dict) -> str:
    """Compares shapes, which all fit where there are as many heads as tokens."""
    found = diagnose(record)
    return HEALTHY if found in (SWAPPED, KEYS_FIRST, EXCHANGED) else found


def cache_alone(record: dict) -> str:
    """Looks at the cache and at nothing that is passed with it."""
    found = diagnose(record)
    return HEALTHY if found in (HIDDEN, NOT_MOVED) else found


def any_other_cache_is_swapped(record: dict) -> str:
    """Takes every cache with other numbers for one of swapped axes."""
    found = diagnose(record)
    return SWAPPED if found in (KEYS_FIRST, EXCHANGED) else found


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
            "You call every reading healthy. None of them raised an error: the numbers tell.",
        ),
        Misconception(
            shapes_alone,
            "You compare shapes. With as many heads as virtual tokens a cache of swapped axes, or "
            "one of keys first, has the right shape: compare the numbers.",
        ),
        Misconception(
            cache_alone,
            "You look at the cache alone. A right cache may be hidden by the mask, or be followed "
            "by a text that begins at place 0.",
        ),
        Misconception(
            any_other_cache_is_swapped,
            "You take every cache with other numbers for one of swapped axes. Keys first has the key "
            "of layer 1 where the value of layer 0 belongs, and keys for values has them exchanged.",
        ),
        Misconception(
            partial(diagnose, blind_to=EXCHANGED),
            "You miss the cache whose keys stand in the place of the values.",
        ),
        Misconception(
            partial(diagnose, blind_to=HIDDEN),
            "You miss the hidden prefix: where its mask is 0, no token of the text sees it.",
        ),
        Misconception(
            partial(diagnose, blind_to=NOT_MOVED),
            "You miss the text that was not moved: the prefix has the places 0 to n - 1, so the "
            "text begins at n.",
        ),
    ],
    why="A prefix is read by three things together: a cache of the right numbers, a mask that "
    "shows it, and places that begin behind it. Each can be wrong without an error.",
)
