"""What the cases of several tasks share: draws that tell the answers apart, and planted sweeps."""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from ...tasks import Cases


def told_apart(
    generator: np.random.Generator,
    draw: Callable[[np.random.Generator], Cases],
    answers: Sequence[Callable],
) -> Cases:
    """Cases on which no two of the answers agree, drawn until some are."""
    while True:
        cases = draw(generator)
        found = [[answer(*case) for case in cases] for answer in answers]
        if all(one != other for one, other in combinations(found, 2)):
            return cases


def sweep(generator: np.random.Generator, rates: int, best: int) -> tuple[np.ndarray, np.ndarray]:
    """Losses above the floor of one method by (rate, seed): on validation texts and on test texts.

    The best rate by the mean over the seeds is `best`, although one of its runs went badly. Of its
    two neighbours one has the best single run, by luck, and the other one the best test losses.
    """
    side = int(generator.choice([-1, 1]))
    scale = generator.uniform(1, 3)
    curve = 0.05 + 0.02 * np.abs(np.arange(rates) - best) ** 1.5

    def seeds(mean: np.ndarray) -> np.ndarray:
        apart = [generator.permutation([-0.004, 0.001, 0.003]) for _ in range(rates)]
        return mean[:, None] + np.array(apart) + generator.uniform(-2e-4, 2e-4, (rates, 3))

    validation, test = seeds(curve), seeds(curve)
    validation[best] += generator.permutation([0.03, -0.005, -0.005])
    validation[best + side] += generator.permutation([-0.04, 0.01, 0.01])
    validation[best - side] += generator.permutation([0.012, -0.006, -0.006])
    test[best - side] -= 0.035
    return scale * validation, scale * test
