"""Task 3: what one seed and some hundred questions can tell, and what many comparisons find.

The accuracy p of n questions has the standard error sqrt(p (1 - p) / n).
"""

from collections.abc import Callable
from functools import partial
from itertools import combinations, pairwise, permutations
from math import sqrt
from statistics import NormalDist

import numpy as np

from ...tasks import Cases, Misconception, Task, by_entry

NORMAL = NormalDist()
LEVEL = 0.05  # of the whole family of comparisons
MARGIN = 0.03  # no z of a case lies this near to a bound, relative to it


def variance(accuracy: float, questions: int) -> float:
    """The square of an accuracy's standard error."""
    return accuracy * (1 - accuracy) / questions


def of_both(first: float, second: float, questions: int) -> float:
    """The standard error of a difference of two independent accuracies."""
    return sqrt(variance(first, questions) + variance(second, questions))


def z_score(first: float, second: float, questions: int, error: Callable = of_both) -> float:
    """The difference in standard errors; the mistakes divide by something else."""
    return (first - second) / error(first, second, questions)


def added(first: float, second: float, questions: int) -> float:
    """Both errors, as if both always erred to opposite sides."""
    return sqrt(variance(first, questions)) + sqrt(variance(second, questions))


def of_one(first: float, second: float, questions: int) -> float:
    """The error of one accuracy, as if the other had none."""
    return sqrt(variance(first, questions))


def z_cases(generator: np.random.Generator) -> Cases:
    """Four pairs of neighbouring accuracies, better and worse, told by shares."""
    found = []
    for sign in (1, -1, 1, -1):
        questions = int(generator.integers(300, 2000))
        first = round(float(generator.uniform(0.25, 0.7)), 4)
        apart = generator.uniform(0.03, 0.08)
        found.append([first, round(float(first + sign * apart), 4), questions])
    return found


Z_SCORE = Task(
    name="z_score",
    title="3a. How many standard errors apart?",
    points=2,
    cases=z_cases,
    answer=lambda first, second, questions: z_score(first, second, questions),
    tolerance=1e-2,
    misconceptions=[
        Misconception(
            partial(z_score, error=lambda p, q, n: of_both(p, q, 1)),
            "You divide by the deviation of a single question. The error of a mean of n questions "
            "is smaller by sqrt(n).",
        ),
        Misconception(
            partial(z_score, error=of_one),
            "You divide by the error of one accuracy. Both are uncertain, and a difference is more "
            "so, by about sqrt(2).",
        ),
        Misconception(
            partial(z_score, error=added),
            "You add the two errors. Independent errors partly cancel: add their squares, then take "
            "the root.",
        ),
        Misconception(
            partial(z_score, error=lambda p, q, n: of_both(p, q, n) ** 2),
            "You divide by the variance. The standard error is its root.",
        ),
        Misconception(
            partial(z_score, error=lambda p, q, n: of_both(p, q, n) / 100),
            "Your difference is in per cent and your error is a share: they differ by a factor of "
            "100.",
        ),
        Misconception(
            lambda first, second, questions: abs(z_score(first, second, questions)),
            "The sign is lost: z is negative where the first accuracy is the lower one.",
        ),
        Misconception(
            lambda first, second, questions: z_score(second, first, questions),
            "You took the difference the other way round: z is positive where the first is better.",
        ),
    ],
    why="Each accuracy is a mean of n answers, right or wrong, so its error falls with sqrt(n); "
    "the variances of two independent means add up.",
)


def bound(comparisons: int, level: float = LEVEL, sides: int = 2) -> float:
    """Bonferroni's |z|: beyond it, by chance, with a probability of `level` for all together."""
    return NORMAL.inv_cdf(1 - level / (sides * comparisons))


def beyond(
    accuracies: list[float],
    questions: int,
    pairs_of: Callable = lambda accuracies: combinations(accuracies, 2),
    error: Callable = of_both,
    size: Callable = abs,
    share: float = 2 * NORMAL.cdf(-2),
    limit: Callable = lambda runs, pairs: bound(pairs),
) -> dict[str, object]:
    """The five entries; the mistakes pair, divide or bound otherwise."""
    scores = [size(z_score(*pair, questions, error)) for pair in pairs_of(accuracies)]
    z = limit(len(accuracies), len(scores))
    return {
        "pairs": len(scores),
        "beyond 2": sum(score > 2 for score in scores),
        "by chance": share * len(scores),
        "bound": z,
        "beyond the bound": sum(score > z for score in scores),
    }


WAYS = (
    {"pairs_of": pairwise},
    {"pairs_of": lambda accuracies: permutations(accuracies, 2)},
    {"error": of_one},
    {"size": lambda z: z},
)


def counts(accuracies: list[float], questions: int, **how) -> list[object]:
    found = beyond(accuracies, questions, **how)
    return [found["beyond 2"], found["beyond the bound"]]


def tells_apart(accuracies: list[float], questions: int) -> bool:
    """Whether no z is close to a bound, and each mistake counts otherwise."""
    both = 2, bound(len(list(combinations(accuracies, 2))))
    scores = [abs(z_score(*pair, questions)) for pair in combinations(accuracies, 2)]
    if any(abs(score / limit - 1) < MARGIN for score in scores for limit in both):
        return False
    right = counts(accuracies, questions)
    differ = all(counts(accuracies, questions, **how)[0] != right[0] for how in WAYS)
    return differ and right[0] > right[1] > 0


def beyond_cases(generator: np.random.Generator) -> Cases:
    """Three benchmarks of 6 to 9 runs, of which some pairs are apart and some only seem to be."""
    found: Cases = []
    while len(found) < 3:
        questions, runs = int(generator.integers(500, 1500)), int(generator.integers(6, 10))
        middle = generator.uniform(0.35, 0.6)
        drawn = middle + 0.035 * generator.normal(size=runs)
        accuracies = [round(float(accuracy), 4) for accuracy in drawn]
        if tells_apart(accuracies, questions):
            found.append([accuracies, questions])
    return found


BEYOND = Task(
    name="beyond",
    title="3b. Many comparisons at once",
    points=3,
    cases=beyond_cases,
    answer=lambda accuracies, questions: beyond(accuracies, questions),
    tolerance=1e-3,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(beyond, pairs_of=pairwise),
            "You compare neighbours only. Any two runs are a pair: k runs have k (k - 1) / 2.",
        ),
        Misconception(
            partial(beyond, pairs_of=lambda accuracies: permutations(accuracies, 2)),
            "You count each pair twice: first with second is the same comparison as second with "
            "first.",
        ),
        Misconception(
            partial(beyond, size=lambda z: z),
            "You count a pair only where the first run is the better one. Take the absolute value "
            "of z.",
        ),
        Misconception(
            partial(beyond, error=of_one),
            "You divide by the error of one accuracy, which makes each z about sqrt(2) too large.",
        ),
        Misconception(
            partial(beyond, share=LEVEL),
            "You take five per cent for the share beyond 2. That belongs to 1.96; beyond 2 it is "
            "2 Phi(-2), about 4.6%.",
        ),
        Misconception(
            partial(beyond, limit=lambda runs, pairs: bound(1)),
            "Your bound is that of a single comparison. Bonferroni divides the 5% among all pairs.",
        ),
        Misconception(
            partial(beyond, limit=lambda runs, pairs: bound(pairs, sides=1)),
            "Your bound is one-sided. |z| is large on either side, so each tail gets half of a "
            "pair's share.",
        ),
        Misconception(
            partial(beyond, limit=lambda runs, pairs: bound(runs)),
            "You divide the 5% by the number of runs. It is the comparisons that can go wrong: "
            "divide by the number of pairs.",
        ),
    ],
    why="Among many equal runs some pairs are beyond 2 by chance alone. Bonferroni's bound holds "
    "for all pairs together, also where they are not independent, as here. It is conservative: "
    "real differences may lie below it.",
)
