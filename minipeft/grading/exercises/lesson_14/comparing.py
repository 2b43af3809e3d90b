"""Tasks 3a and 3b: the best rates of a sweep, and forgetting where equally much was learned."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case, by_entry
from .planted import sweep, told_apart

METHODS = ("full", "lora")


def rate_sweeps(generator: np.random.Generator) -> Cases:
    """Two sweeps over six rates; LoRA's best rate lies one step, and three, above the other."""
    found = []
    for apart in (1, 3):
        rates = [
            float(f"{rate:.2g}") for rate in generator.uniform(1, 3) * 3.0 ** np.arange(-9, -3)
        ]
        first = int(generator.integers(1, 5 - apart))
        runs = []
        for method, best in zip(METHODS, (first, first + apart), strict=True):
            validation, test = sweep(generator, len(rates), best)
            forgotten = np.linspace(0.1, 2, len(rates))[:, None] + generator.uniform(0, 0.1, (6, 3))
            columns = {"validation": validation, "test": test, "forgotten": forgotten}
            runs += [
                {"method": method, "rate": rate, "seed": seed}
                | {name: round(float(column[i, seed]), 4) for name, column in columns.items()}
                for i, rate in enumerate(rates)
                for seed in range(3)
            ]
        found.append([[runs[i] for i in generator.permutation(len(runs))]])
    return found


def mean_by_rate(runs: list[dict], method: str | None, key: str) -> dict[float, float]:
    """The mean over the runs of each rate; of all methods together where none is named."""
    mine = [run for run in runs if method in (None, run["method"])]
    rates = {run["rate"] for run in mine}
    return {rate: np.mean([run[key] for run in mine if run["rate"] == rate]) for rate in rates}


def best_by_mean(runs: list[dict], method: str, key="validation", choose: Callable = min) -> float:
    """The rate with the smallest mean; the mistakes choose by something else."""
    means = mean_by_rate(runs, method, key)
    return choose(means, key=means.get)


def best_worst_run(runs: list[dict], method: str) -> float:
    """The rate whose worst run is best."""
    worst: dict[float, float] = {}
    for run in runs:
        if run["method"] == method:
            worst[run["rate"]] = max(run["validation"], worst.get(run["rate"], 0.0))
    return min(worst, key=worst.get)


def best_single_run(runs: list[dict], method: str) -> float:
    """The rate of the best run of all seeds."""
    mine = [run for run in runs if run["method"] == method]
    return min(mine, key=lambda run: run["validation"])["rate"]


def best_rates(runs, best: Callable = best_by_mean, turn=False):
    """{"full", "lora", "ratio"}; a mistake chooses otherwise, or divides the wrong way round."""
    full, lora = (float(best(runs, method)) for method in METHODS)
    return {"full": full, "lora": lora, "ratio": full / lora if turn else lora / full}


WRONG_RATES = [
    (
        partial(best_rates, best=best_single_run),
        "You took the rate of the best single run. One lucky seed is not a good rate: average "
        "over the seeds first.",
    ),
    (
        partial(best_rates, best=best_worst_run),
        "You took the rate whose worst seed is best. Asked for is the smallest mean.",
    ),
    (
        partial(best_rates, best=partial(best_by_mean, key="test")),
        "You chose the rates by the test texts. Then their loss is no test any more: choose by "
        "validation.",
    ),
    (
        partial(best_rates, best=lambda runs, method: best_by_mean(runs, None)),
        "You chose one rate for both methods. Each method has its own best rate.",
    ),
    (
        partial(best_rates, best=partial(best_by_mean, choose=max)),
        "You chose the largest loss. Smaller is better.",
    ),
    (
        partial(best_rates, best=partial(best_by_mean, key="forgotten")),
        "You chose the rates that forget least. A method that learns nothing forgets nothing: "
        "choose by what is learned.",
    ),
    (
        partial(best_rates, turn=True),
        "Your ratio is turned over: asked for is LoRA's best rate over full fine-tuning's.",
    ),
    (
        lambda runs: best_rates([run for run in runs if run["seed"] == 0]),
        "You looked at seed 0 alone. There are three seeds for each rate: average over them.",
    ),
]


def rate_cases(generator: np.random.Generator) -> Cases:
    """Sweeps on which every mistake finds other rates."""
    return told_apart(generator, rate_sweeps, [best_rates, *(answer for answer, _ in WRONG_RATES)])


RATES = Task(
    name="best_rates",
    title="3a. The best rates, and their ratio",
    points=2,
    cases=rate_cases,
    answer=lambda runs: best_rates(runs),
    parts=by_entry,
    misconceptions=[Misconception(answer, message) for answer, message in WRONG_RATES],
    why="A mean over seeds is less at the mercy of one lucky run, and texts that chose the rate "
    "can't judge it. On a grid the ratio is known to a step of the grid, no better.",
)


def curve(generator: np.random.Generator, n: int, best: int) -> list[tuple[float, float, float]]:
    """(rate, learned, forgotten) by rising rate: learned falls up to the best rate, then rises."""
    rates = [float(f"{rate:.2g}") for rate in generator.uniform(1, 2) * 2.0 ** np.arange(n) / 1000]
    steps = generator.uniform(0.7, 1.3, n)
    down = np.cumsum(steps[best::-1])[::-1] - steps[best] + 0.1
    up = 0.1 + np.cumsum(steps[best + 1 :]) * 0.8
    forgotten = np.cumsum(generator.uniform(0.2, 1, n) * 1.4 ** np.arange(n))
    columns = (np.concatenate([down, up]), forgotten)
    return [(rate, *(round(float(c[i]), 4) for c in columns)) for i, rate in enumerate(rates)]


def level(points: list, i: int, share: float) -> float:
    """What is learned a share of the way from point i to the next."""
    return round(float(points[i][1] + share * (points[i + 1][1] - points[i][1])), 4)


def levels(generator: np.random.Generator) -> Cases:
    """A level between two rates, one that is met again beyond the best rate, one never reached."""

    def shuffled(points: list) -> list:
        return [points[i] for i in generator.permutation(len(points))]

    plain, risen, weak = (curve(generator, n, best) for n, best in [(5, 4), (7, 3), (5, 3)])
    share = generator.uniform(0.15, 0.35, 2)
    return [
        [shuffled(plain), level(plain, 3, share[0])],
        [shuffled(risen), level(risen, int(generator.integers(0, 3)), 1 - share[1])],
        [shuffled(weak), 0.05],
    ]


def rising_side(points: list) -> list:
    """The points up to the rate that learns most, by rate."""
    ordered = sorted(points)
    return ordered[: int(np.argmin([learned for _, learned, _ in ordered])) + 1]


def between(points: list, learned: float, share: Callable = lambda share: share) -> float | None:
    """Forgetting where the points pass `learned`; a mistake goes another share of the way."""
    for (_, before, start), (_, after, end) in pairwise(points):
        if after <= learned <= before:
            return float(start + share((learned - before) / (after - before)) * (end - start))
    return None


def forgotten_at(points, learned, side: Callable = rising_side, **options):
    """Forgetting at equal learning, on the rising side."""
    return between(side(points), learned, **options)


def by_learned(points, learned):
    """All points in order of what they learned, those beyond the best rate among them."""
    return between(sorted(points, key=lambda point: -point[1]), learned)


def clamped(points, learned):
    """The forgetting at the best rate stands in for a level that is never reached."""
    found = forgotten_at(points, learned)
    return rising_side(points)[-1][2] if found is None else found


def nearest_point(points, learned):
    """The forgetting of the point that is nearest."""
    side = rising_side(points)
    if learned < side[-1][1]:
        return None
    return min(side, key=lambda point: abs(point[1] - learned))[2]


def through_logarithms(points, learned):
    """The line through the logarithms of both losses."""
    logs = [(rate, np.log(a), np.log(b)) for rate, a, b in points]
    found = forgotten_at(logs, np.log(learned))
    return None if found is None else float(np.exp(found))


UNEQUAL = [
    (
        through_logarithms,
        "You drew the line through the logarithms, as the lesson does. Here it goes through the "
        "losses themselves.",
    ),
    (
        by_learned,
        "You sorted all points by what they learned, so points beyond the best rate got in "
        "between. There a rate is too large: keep the points up to the best rate.",
    ),
    (
        clamped,
        "A method that never learns as much has no forgetting at that level. Return None "
        "there (np.interp gives its end value instead).",
    ),
    (
        nearest_point,
        "You took the nearest point. Go as far from one neighbour to the other as the level "
        "lies between what they learned.",
    ),
    (
        partial(forgotten_at, share=lambda share: 0.5),
        "You took the middle of the two neighbours. The level is nearer to one of them.",
    ),
    (
        partial(forgotten_at, share=lambda share: 1 - share),
        "Your weights are exchanged: the neighbour that is nearer to the level must count more.",
    ),
    (
        lambda points, learned: rising_side(points)[-1][2],
        "This is the forgetting at the best rate. There each method has learned another "
        "amount, so both things differ at once.",
    ),
    (
        partial(forgotten_at, side=list),
        "You went through the points as they came. They are in no order: sort them by rate.",
    ),
    (
        partial(forgotten_at, side=lambda points: sorted(points)[::-1]),
        "You read the points from the largest rate down, where they first meet the level "
        "beyond the best rate. Keep the points up to the best rate.",
    ),
]


def equal_cases(generator: np.random.Generator) -> Cases:
    """Points and levels for which every mistake finds something else."""
    return told_apart(generator, levels, [forgotten_at, *(answer for answer, _ in UNEQUAL)])


AT_EQUAL = Task(
    name="forgotten_at",
    title="3b. Forgetting at equal learning",
    points=3,
    cases=equal_cases,
    answer=lambda points, learned: forgotten_at(points, learned),
    tolerance=1e-3,
    parts=by_case("between two rates", "beyond the best rate", "never reached"),
    trivial=[lambda *given: None],
    misconceptions=[Misconception(answer, message) for answer, message in UNEQUAL],
    why="A method that has learned less may have forgotten less for that reason alone. At one level "
    "of learning this reason is gone, and what is left to compare is the forgetting.",
)
