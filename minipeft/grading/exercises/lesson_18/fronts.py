"""Task 2: which entries nothing beats, and who is ahead."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import whole_list, words

STEP = 64  # losses are multiples of 1 / STEP, so that equal ones are equal in every format


def falling_front(generator: np.random.Generator, n: int) -> list[tuple[int, int]]:
    """n points (numbers, loss in steps), each with more numbers and less loss than the one before."""
    numbers = np.sort(generator.choice(np.arange(20, 400), n, replace=False)) * 16
    losses = np.sort(generator.choice(np.arange(4, 60), n, replace=False))[::-1]
    return [(int(a), int(b)) for a, b in zip(numbers, losses, strict=True)]


def entry_list(generator: np.random.Generator, points: list[tuple[int, int]]) -> list[dict]:
    """The points as entries, in a random order."""
    return [
        {"numbers": points[i][0], "above": points[i][1] / STEP}
        for i in generator.permutation(len(points)).tolist()
    ]


def front_cases(generator: np.random.Generator) -> Cases:
    """Entries without ties; some that tie in one respect; two that are equal."""
    front = falling_front(generator, 4)
    beaten = [(a + 16 * int(generator.integers(1, 9)), b + int(generator.integers(1, 9)))
              for a, b in front]  # fmt: skip
    tied = [(front[1][0], front[1][1] + 3), (front[2][0] + 48, front[2][1])]
    return [
        [entry_list(generator, front + beaten)],
        [entry_list(generator, front + tied)],
        [entry_list(generator, [*front, front[1], beaten[2]])],
    ]


def beats(a: dict, b: dict) -> bool:
    """Nowhere worse, somewhere better."""
    pairs = [(a["numbers"], b["numbers"]), (a["above"], b["above"])]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def beats_everywhere(a: dict, b: dict) -> bool:
    """Better in both."""
    return a["numbers"] < b["numbers"] and a["above"] < b["above"]


def beats_somewhere(a: dict, b: dict) -> bool:
    """Better in one of the two."""
    return a["numbers"] < b["numbers"] or a["above"] < b["above"]


def upside_down(a: dict, b: dict) -> bool:
    """As if more were better."""
    return beats(b, a)


def pareto(entries: list[dict], beats: Callable[[dict, dict], bool] = beats) -> list[int]:
    """The positions of the entries that no other beats, ascending."""
    return [i for i, one in enumerate(entries) if not any(beats(other, one) for other in entries)]


def no_equals(entries: list[dict]) -> list[int]:
    """Not worse is enough to beat another; so two equal entries beat each other."""
    found = []
    for i, one in enumerate(entries):
        others = [other for j, other in enumerate(entries) if j != i]
        if not any(
            o["numbers"] <= one["numbers"] and o["above"] <= one["above"] for o in others
        ):
            found.append(i)
    return found


def two_ends(entries: list[dict]) -> list[int]:
    """The fewest numbers and the smallest loss alone."""
    front = pareto(entries)
    ends = [min(front, key=lambda i: entries[i]["numbers"]),
            min(front, key=lambda i: entries[i]["above"])]  # fmt: skip
    return sorted(ends)


PARETO = Task(
    name="pareto",
    title="2a. What nothing beats",
    points=3,
    cases=front_cases,
    answer=pareto,
    observe=whole_list,
    parts=by_case("no ties", "ties in one respect", "equal entries"),
    trivial=[lambda entries: list(range(len(entries))), lambda entries: []],
    misconceptions=[
        Misconception(
            partial(pareto, beats=beats_everywhere),
            "You ask that the other is better in both. One that is equal in one and better in the "
            "other beats it, too.",
        ),
        Misconception(
            no_equals,
            "Two equal entries do not beat each other: to beat, an entry must be better somewhere.",
        ),
        Misconception(
            partial(pareto, beats=beats_somewhere),
            "You let an entry beat another as soon as it is better in one of the two. It must be "
            "nowhere worse.",
        ),
        Misconception(
            partial(pareto, beats=upside_down),
            "You have the direction turned round: fewer numbers and a smaller loss are better.",
        ),
        Misconception(
            two_ends,
            "You gave the two ends alone: the fewest numbers, and the smallest loss. Between them "
            "are more that nothing beats.",
        ),
        Misconception(
            lambda entries: sorted(pareto(entries), key=lambda i: entries[i]["numbers"]),
            "These are the right entries, sorted by their numbers. Asked for are their positions "
            "in the list, ascending.",
        ),
    ],
    why="Dominance needs no weights: whoever is on the front is the best for some way of weighing "
    "numbers against loss, or for none; whoever is off it is the best for none.",
)

BOUND = 16 / STEP
KEYS = ("numbers", "bytes", "flops", "above")


def rank_cases(generator: np.random.Generator) -> Cases:
    """Twice: entries that tie in all but one respect, one on the bound, and two that miss it."""
    found = []
    for _ in range(2):
        n, size, flops = (int(v) for v in generator.integers(50, 500, 3))
        losses = (np.sort(generator.choice(np.arange(2, 15), 3, replace=False))).tolist()
        rows = [
            (n - 1, size + 40, flops + 7, BOUND * STEP),  # on the bound, the fewest numbers
            (n, size - 3, flops + 90, losses[2]),
            (n, size, flops - 5, losses[2]),
            (n, size, flops, losses[0]),
            (n, size, flops, losses[1]),
            (n + 30, size - 20, flops - 20, 1),
            (n - 40, size - 30, flops - 30, 40),
            (n - 7, size - 9, flops - 9, 20),
        ]
        names = [f"entry {letter}" for letter in generator.permutation(list("abcdefgh")).tolist()]
        entries = [
            {"name": name, "numbers": a, "bytes": b, "flops": c, "above": d / STEP}
            for name, (a, b, c, d) in zip(names, rows, strict=True)
        ]
        order = generator.permutation(len(entries)).tolist()
        found.append([[entries[i] for i in order], BOUND])
    return found


def ranking(entries, bound, keys=KEYS, within=lambda above, bound: above <= bound, missed="above"):
    """Names, best first: those within the bound by the keys, then the others by the loss."""

    def place(entry: dict) -> tuple:
        if within(entry["above"], bound):
            return 0, *(entry[key] for key in keys)
        return 1, entry[missed]

    return [entry["name"] for entry in sorted(entries, key=place)]


def without_missed(entries: list[dict], bound: float) -> list[str]:
    """Those within the bound alone."""
    reached = [entry for entry in entries if entry["above"] <= bound]
    return ranking(reached, bound)


RANKING = Task(
    name="ranking",
    title="2b. Who is ahead",
    points=2,
    cases=rank_cases,
    answer=ranking,
    observe=words,
    parts=by_case("one hole", "another hole"),
    misconceptions=[
        Misconception(
            partial(ranking, within=lambda above, bound: True),
            "You never look at the bound: an entry that misses it ranks behind all that reach it.",
        ),
        Misconception(
            partial(ranking, within=lambda above, bound: above < bound),
            "An entry that lies exactly on the bound has reached it.",
        ),
        Misconception(
            partial(ranking, keys=("above", "numbers", "bytes", "flops")),
            "Within the bound the numbers decide, not the loss. The loss comes last.",
        ),
        Misconception(
            partial(ranking, keys=("bytes", "numbers", "flops", "above")),
            "You compare bytes first. They decide only between equal numbers.",
        ),
        Misconception(
            partial(ranking, keys=("numbers", "flops", "bytes", "above")),
            "You compare FLOPs before bytes.",
        ),
        Misconception(
            partial(ranking, keys=("numbers", "above", "bytes", "flops")),
            "Between equal numbers you go by the loss. Bytes and FLOPs come before it.",
        ),
        Misconception(
            partial(ranking, missed="numbers"),
            "Those that miss the bound are ordered by how far they are above it, not by numbers.",
        ),
        Misconception(
            without_missed,
            "You left out the entries that miss the bound. They are listed, too, behind the others.",
        ),
        Misconception(
            lambda entries, bound: ranking(entries, bound)[::-1],
            "This is the right order turned round: the best comes first.",
        ),
    ],
    why="A tuple is compared entry by entry, so one key says the whole rule. A bound with a rule "
    "for ties ranks all entries, where dominance leaves many side by side.",
)
