"""Task 6a: a fair comparison: each method at its own best rate, over all its seeds."""

from statistics import mean

import numpy as np

from ...tasks import Cases, Misconception, Pieces, Task

Runs = list[dict]
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)


def compare(runs: Runs) -> dict[str, dict]:
    """For each method the rate with the least mean loss above the floor, and both means there."""
    return {method: at_best(of_method(runs, method)) for method in methods_of(runs)}


def methods_of(runs: Runs) -> list[str]:
    """All methods, in the order in which they come."""
    return list(dict.fromkeys(run["method"] for run in runs))


def of_method(runs: Runs, method: str) -> Runs:
    """The runs of one method."""
    return [run for run in runs if run["method"] == method]


def learned(run: dict) -> float:
    """The new task's loss above its floor."""
    return run["loss"] - run["floor"]


def forgotten(run: dict) -> float:
    """The own world's loss above its floor."""
    return run["own_loss"] - run["own_floor"]


def at_best(runs: Runs, score=learned, over=mean) -> dict:
    """What one method reaches at the rate that the score calls best."""
    rates = sorted({run["rate"] for run in runs})
    best = min(rates, key=lambda rate: over([score(r) for r in runs if r["rate"] == rate]))
    return at(runs, best)


def at(runs: Runs, rate: float) -> dict:
    """The means over the seeds at one rate."""
    same = [run for run in runs if run["rate"] == rate]
    return {
        "rate": rate,
        "learned": mean(map(learned, same)),
        "forgotten": mean(map(forgotten, same)),
    }


def lucky_seed(runs: Runs) -> dict[str, dict]:
    """The rate of the single best run."""
    return {m: at_best(of_method(runs, m), over=min) for m in methods_of(runs)}


def by_forgetting(runs: Runs) -> dict[str, dict]:
    """The rate that forgets least."""
    return {m: at_best(of_method(runs, m), forgotten) for m in methods_of(runs)}


def one_rate(runs: Runs) -> dict[str, dict]:
    """The rate that is best on average over all methods, for each of them."""
    rate = at_best(runs)["rate"]
    return {m: at(of_method(runs, m), rate) for m in methods_of(runs)}


def raw(runs: Runs) -> dict[str, dict]:
    """Losses as they are, floors and all."""
    flat = [run | {"floor": 0.0, "own_floor": 0.0} for run in runs]
    chosen = compare(runs)
    return {m: at(of_method(flat, m), chosen[m]["rate"]) for m in chosen}


def raw_chosen(runs: Runs) -> dict[str, dict]:
    """The rate with the least loss, when seeds have floors of their own, and no floor taken off."""
    flat = [run | {"floor": 0.0, "own_floor": 0.0} for run in runs]
    return compare(flat)


def best_of_both(runs: Runs) -> dict[str, dict]:
    """Forgetting at the rate that forgets least, beside learning at the rate that learns most."""
    least = by_forgetting(runs)
    return {m: f | {"forgotten": least[m]["forgotten"]} for m, f in compare(runs).items()}


def best_run(runs: Runs) -> dict[str, dict]:
    """The single best run, no mean at all."""
    top = {m: min(of_method(runs, m), key=learned) for m in methods_of(runs)}
    return {method: at([run], run["rate"]) for method, run in top.items()}


def cases(generator: np.random.Generator) -> Cases:
    """Two tables of runs in which every shortcut chooses another rate somewhere."""
    return [[table(generator, ["full", "head", "norms"])], [table(generator, ["last", "lora"])]]


def table(generator: np.random.Generator, methods: list[str]) -> Runs:
    """Runs of some methods at five rates with three seeds each, in a random order.

    The best rates differ by method. One rate further a seed is lucky, the best rate's texts have the
    highest floor, and forgetting grows with the rate.
    """
    best = [int(n) for n in generator.permutation([1, 2, 3])][: len(methods)]
    runs = [
        one_run(generator, method, place - best[number], place, seed)
        for number, method in enumerate(methods)
        for place in range(len(RATES))
        for seed in range(3)
    ]
    return [runs[int(n)] for n in generator.permutation(len(runs))]


def one_run(generator, method: str, off: int, place: int, seed: int) -> dict:
    """One training, `off` rates away from the method's best."""

    def about(low: float) -> float:
        return low + float(generator.uniform(0, 0.1))

    above = about(0.05 if (off, seed) == (1, 1) else 1.4 if off == 1 else 0.3 + 0.5 * abs(off))
    floor, own_floor = about(1.3 if off == 0 else 0.2), about(0.6)
    return {
        "method": method,
        "rate": RATES[place],
        "seed": seed,
        "loss": floor + above,
        "floor": floor,
        "own_loss": own_floor + about(0.1 * 3**place),
        "own_floor": own_floor,
    }


def by_column(got: list, want: list) -> Pieces:
    """Parts by what is asked of each method."""

    def of(values: list, column: str) -> list:
        return [
            {m: row.get(column) for m, row in value.items() if isinstance(row, dict)}
            if isinstance(value, dict)
            else value
            for value in values
        ]

    return {c: (of(got, c), of(want, c)) for c in ("rate", "learned", "forgotten")}


COMPARE = Task(
    name="compare",
    title="6a. A fair comparison",
    points=3,
    cases=cases,
    answer=compare,
    parts=by_column,
    misconceptions=[
        Misconception(
            best_run,
            "You report the single best run. One lucky seed is no result: take the mean over the "
            "seeds, and choose the rate by it.",
        ),
        Misconception(
            lucky_seed,
            "You choose the rate by its best seed. Choose by the mean over all seeds of a rate.",
        ),
        Misconception(
            one_rate,
            "You gave all methods one rate. Each has its own best: at another's rate it looks "
            "worse than it is.",
        ),
        Misconception(
            by_forgetting,
            "You choose the rate that forgets least. That is always the smallest, which learns "
            "least: choose by what was learned, and report forgetting there.",
        ),
        Misconception(
            best_of_both,
            "You report forgetting at another rate than learning. Both must come from the same "
            "runs.",
        ),
        Misconception(
            raw,
            "These are losses, floors and all. Asked for is what is above the floor.",
        ),
        Misconception(
            raw_chosen,
            "You choose and report by the bare loss. Each run has a floor of its own: subtract it "
            "first, then compare.",
        ),
    ],
    why="A comparison of methods at one rate compares rates. Tuned for each, over several seeds and "
    "with forgetting from the same runs, it compares methods.",
)
