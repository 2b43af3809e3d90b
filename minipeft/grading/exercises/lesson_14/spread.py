"""Task 3c: which differences between methods are larger than the spread of their seeds."""

from collections.abc import Callable
from functools import partial
from itertools import permutations

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .planted import told_apart


def clear_cases(generator: np.random.Generator) -> Cases:
    """Four methods of three seeds each, three times: some ranges meet, some don't."""

    def draw(generator: np.random.Generator) -> Cases:
        found = []
        for _ in range(3):
            names = [str(name) for name in generator.permutation(["full", "lora", "dora", "ia3"])]
            numbers = generator.permutation(np.arange(10, 90))[:12].reshape(4, 3) / 100
            means = generator.uniform(0, 1.2, 4)[:, None]
            table = np.round(means + numbers, 2).tolist()
            if len({n for row in table for n in row}) < 12:
                return draw(generator)
            found.append([dict(zip(names, table, strict=True))])
        return found

    def drawn_well(generator: np.random.Generator) -> Cases:
        while True:
            cases = draw(generator)
            if all(0 < len(clear_pairs(*case)) < 6 for case in cases):
                return cases

    return told_apart(generator, drawn_well, [clear_pairs, *(answer for answer, _ in UNCLEAR)])


def apart(better: list, worse: list) -> bool:
    """Every seed of one below every seed of the other."""
    return max(better) < min(worse)


def clear_pairs(learned, is_clear: Callable = apart):
    """All pairs (better, worse) whose ranges don't meet, in alphabetical order."""
    pairs = sorted(permutations(learned, 2))
    return [[a, b] for a, b in pairs if is_clear(learned[a], learned[b])]


UNCLEAR = [
    (
        partial(clear_pairs, is_clear=lambda a, b: np.mean(a) < np.mean(b)),
        "You compared means alone. Two means always differ: ask whether the ranges of the seeds "
        "meet.",
    ),
    (
        partial(clear_pairs, is_clear=lambda a, b: apart(b, a)),
        "Your pairs are turned over. The better method, with the smaller loss, comes first.",
    ),
    (
        partial(clear_pairs, is_clear=lambda a, b: apart(a, b) or apart(b, a)),
        "You list each pair both ways. The better method comes first, and only there.",
    ),
    (
        partial(clear_pairs, is_clear=lambda a, b: min(a) < min(b)),
        "You compared the best seeds. All seeds of the better method must lie below all of the "
        "worse one.",
    ),
    (
        partial(clear_pairs, is_clear=lambda a, b: max(a) < max(b) and min(a) < min(b)),
        "You compared worst seed with worst and best with best. Compare the worst seed of the "
        "better method with the best of the worse one.",
    ),
    (
        partial(clear_pairs, is_clear=lambda a, b: all(x < y for x, y in zip(a, b, strict=True))),
        "You compared seed by seed. Asked for is whether the ranges meet: every seed of one below "
        "every seed of the other.",
    ),
    (
        partial(clear_pairs, is_clear=lambda a, b: max(a) < np.mean(b)),
        "You compared the worst seed with a mean. The whole range of the other method counts.",
    ),
]

CLEAR = Task(
    name="clear_pairs",
    title="3c. Larger than the spread?",
    points=2,
    cases=clear_cases,
    answer=lambda learned: clear_pairs(learned),
    parts=by_case("first table", "second table", "third table"),
    trivial=[lambda learned: []],
    misconceptions=[Misconception(answer, message) for answer, message in UNCLEAR],
    why="If two methods were equal, three seeds of each would still lie apart in 2 of 20 orders, "
    "one time in ten. So this is a first sieve and no proof: among many pairs some pass by luck.",
)
