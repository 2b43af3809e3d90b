"""Task 4, the bug zoo: comparisons of two methods that were run and reported without a complaint.

Each specimen is the record of one comparison of full fine-tuning with LoRA.
"""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, every_twice, misnamed, one_name_for_all
from .comparing import METHODS
from .planted import sweep

HEALTHY = "healthy"
SHARED = "one shared rate"
BY_TEST = "chosen by test"
ONE_SEED = "chosen by one seed"
BEST_SEED = "best seed reported"
SHARE = "share of the gain"
STEPS = "equal steps"
TEXTS = "forgetting on new texts"
SPECIMENS = [HEALTHY, SHARED, BY_TEST, ONE_SEED, BEST_SEED, SHARE, STEPS, TEXTS]
RATES = 7


def by_mean(losses: np.ndarray) -> int:
    """The place of the rate with the smallest mean over the seeds."""
    return int(np.asarray(losses).mean(axis=1).argmin())


def by_one_run(losses: np.ndarray) -> int:
    """The place of the rate with the best single run."""
    return int(np.asarray(losses).min(axis=1).argmin())


def chosen_places(generator: np.random.Generator, bug: str, validation: dict, test: dict) -> dict:
    """The place of each method's rate, as an author with this bug chooses it."""
    places = {method: by_mean(validation[method]) for method in METHODS}
    if bug == SHARED:
        return dict.fromkeys(METHODS, places[str(generator.choice(METHODS))])
    if bug == BY_TEST:
        return {method: by_mean(test[method]) for method in METHODS}
    if bug == ONE_SEED:
        return {method: by_one_run(validation[method]) for method in METHODS}
    return places


def texts(generator: np.random.Generator, bug: str) -> list[str]:
    """The texts on which forgetting was measured; with the bug about half are the new task's."""
    numbers = [int(n) for n in generator.permutation(500)[:6]]
    new = generator.permutation([bug == TEXTS] * 3 + [False] * 3)
    return [
        f"{'new task' if is_new else 'own world'} {n}"
        for is_new, n in zip(new, numbers, strict=True)
    ]


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one comparison with one bug (or none)."""
    floor, first = generator.uniform(0.3, 1.2), int(generator.integers(1, 3))
    base = floor + generator.uniform(1.5, 4)
    validation, test = {}, {}
    for method, best in zip(METHODS, (first, first + 3), strict=True):
        above = sweep(generator, RATES, best)
        validation[method], test[method] = (floor + losses for losses in above)
    places = chosen_places(generator, bug, validation, test)
    rates = [float(f"{rate:.2g}") for rate in generator.uniform(1, 3) * 3.0 ** np.arange(-9, -2)]
    losses = {
        method: test[method][place].min() if bug == BEST_SEED else test[method][place].mean()
        for method, place in places.items()
    }
    if bug == SHARE:
        reported = {method: (base - loss) / (base - floor) for method, loss in losses.items()}
    else:
        reported = {method: loss - floor for method, loss in losses.items()}
    small, factor = int(generator.choice([4, 8, 16])), int(generator.choice([2, 4, 8]))
    steps = factor * int(generator.integers(20, 100))
    return {
        "floor": float(floor),
        "base": float(base),
        "rates": rates,
        "validation": validation,
        "test": test,
        "chosen": {method: rates[place] for method, place in places.items()},
        "reported": {method: float(number) for method, number in reported.items()},
        "batches": [small, factor * small],
        "steps": [steps, steps if bug == STEPS else steps // factor],
        "forgetting": texts(generator, bug),
    }


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def diagnose(record: dict, blind_to: tuple[str, ...] = ()) -> str:
    """What is wrong with the comparison; a wrong answer is one that is blind to some bugs."""
    rates, floor = record["rates"], record["floor"]
    places = {method: rates.index(record["chosen"][method]) for method in METHODS}
    right = {method: by_mean(record["validation"][method]) for method in METHODS}
    tested = {method: by_mean(record["test"][method]) for method in METHODS}
    at = {method: record["test"][method][place] - floor for method, place in places.items()}

    def reports(numbers: dict) -> bool:
        return all(np.isclose(record["reported"][m], numbers[m], atol=1e-6) for m in METHODS)

    signs = {
        STEPS: len({b * n for b, n in zip(record["batches"], record["steps"], strict=True)}) > 1,
        TEXTS: any(not text.startswith("own world") for text in record["forgetting"]),
        SHARED: places["full"] == places["lora"],
        BY_TEST: places == tested,
        ONE_SEED: places != right and places["full"] != places["lora"] and places != tested,
        BEST_SEED: reports({method: at[method].min() for method in METHODS}),
        SHARE: not reports({method: at[method].mean() for method in METHODS})
        and not reports({method: at[method].min() for method in METHODS}),
    }
    return next((bug for bug, sign in signs.items() if sign and bug not in blind_to), HEALTHY)


DIAGNOSE = Task(
    name="diagnose",
    title="4. The bug zoo",
    points=4,
    cases=cases,
    answer=lambda record: diagnose(record),
    parts=by_answer,
    trivial=one_name_for_all(SPECIMENS),
    misconceptions=[
        Misconception(
            partial(always, HEALTHY),
            "You call every comparison healthy. All of them ran: whether they are fair shows in "
            "their records.",
        ),
        Misconception(
            partial(diagnose, blind_to=(SHARED, BY_TEST, ONE_SEED)),
            "You don't look at how the rates were chosen. Work out the best rate of each method "
            "by the mean over the seeds of its validation losses.",
        ),
        Misconception(
            partial(misnamed, diagnose, {BY_TEST: HEALTHY, HEALTHY: BY_TEST}),
            "You take the test losses for those that choose. Rates are chosen by validation.",
        ),
        Misconception(
            partial(misnamed, diagnose, {ONE_SEED: HEALTHY, HEALTHY: ONE_SEED}),
            "You take the rate of the best single run for the right one. Right is the best mean "
            "over the seeds.",
        ),
        Misconception(
            partial(misnamed, diagnose, {ONE_SEED: BY_TEST}),
            "You call each wrong choice one by the test texts. Work out which rate the test "
            "losses would choose, and compare.",
        ),
        Misconception(
            partial(misnamed, diagnose, {BY_TEST: ONE_SEED}),
            "You call each wrong choice one by a single seed. Work out which rate the test losses "
            "would choose, and compare.",
        ),
        Misconception(
            partial(diagnose, blind_to=(SHARED,)),
            "You miss the comparisons at one shared rate: it is the best of one method, and the "
            "other one has to do with it.",
        ),
        Misconception(
            partial(diagnose, blind_to=(SHARE,)),
            "You miss the shares of the gain. They make a loss well above the floor look like "
            "nearly all: compare `reported` with the mean test loss minus the floor.",
        ),
        Misconception(
            partial(diagnose, blind_to=(BEST_SEED,)),
            "You miss the reports of the best seed. Compare `reported` with the mean over the "
            "seeds.",
        ),
        Misconception(
            partial(misnamed, diagnose, {BEST_SEED: SHARE}),
            "You take the best seed's loss for a share of the gain. A share is near 1 here.",
        ),
        Misconception(
            partial(diagnose, blind_to=(STEPS,)),
            "You miss the comparisons at equal steps: batch size times steps, the examples that "
            "were read, has to be equal.",
        ),
        Misconception(
            partial(misnamed, diagnose, {STEPS: HEALTHY, HEALTHY: STEPS}),
            "You take equal steps for fair. With a larger batch they read more examples.",
        ),
        Misconception(
            partial(diagnose, blind_to=(TEXTS,)),
            "You miss the forgetting that was measured on texts of the new task. A model gets "
            "better on those by learning.",
        ),
    ],
    why="A fair comparison gives each method its own rate, chosen by the mean over seeds on texts "
    "that don't judge it; it reports the mean above the floor, reads equally many examples, and "
    "measures forgetting on the base's own world. Each bug breaks one of these.",
)
