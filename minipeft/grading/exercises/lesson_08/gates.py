"""Task 2: the hard concrete gate, with noise and in use, and how many gates are open on average.

Louizos, Welling, Kingma 2018, arXiv 1712.01312, section 2.2.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case


def sigmoid(values):
    """1 / (1 + exp(-values))."""
    return 1 / (1 + np.exp(-np.asarray(values, np.float64)))


def gate_cases(generator: np.random.Generator) -> Cases:
    """With noise and in use, each twice; some gates are 0, some 1, most between."""
    found = []
    for noisy in (True, True, False, False):
        alpha = generator.normal(size=(4, 6)).astype(np.float32) * 1.5
        u = generator.uniform(0.05, 0.95, (4, 6)).astype(np.float32)
        lower, upper = -round(float(generator.uniform(0.3, 0.6)), 2), 1.3
        temperature = round(float(generator.choice([0.5, 0.6, 0.7])), 2)
        alpha[0, :2] = 9, -9  # one that is open and one that is closed, whatever u is
        found.append([alpha, u, noisy, lower, upper, temperature])
    return found


def gate(
    alpha, u, noisy, lower, upper, temperature,
    logit: Callable = lambda u: np.log(u) - np.log(1 - u),
    cooled: Callable = lambda total, temperature: total / temperature,
    cut: Callable = lambda z: np.clip(z, 0, 1),
):  # fmt: skip
    """min(1, max(0, s (upper - lower) + lower)); the mistakes differ in one of the steps."""
    alpha, u = np.asarray(alpha, np.float64), np.asarray(u, np.float64)
    s = sigmoid(cooled(logit(u) + alpha, temperature) if noisy else alpha)
    return cut(s * (upper - lower) + lower)


def always_cooled(alpha, u, noisy, lower, upper, temperature):
    """In use, too, alpha is divided by the temperature."""
    given = np.asarray(alpha, np.float64)
    return gate(given if noisy else given / temperature, u, noisy, lower, upper, temperature)


def unstretched(alpha, u, noisy, lower, upper, temperature):
    """The sigmoid alone."""
    return gate(alpha, u, noisy, 0.0, 1.0, temperature)


NOISE, USE = "with noise", "in use"

GATE = Task(
    name="gate",
    title="2a. A gate",
    points=3,
    cases=gate_cases,
    answer=gate,
    parts=by_case(NOISE, NOISE, USE, USE),
    misconceptions=[
        Misconception(
            unstretched,
            "You left out the stretch. Without s (upper - lower) + lower no gate is ever exactly 0 "
            "or 1.",
        ),
        Misconception(
            partial(gate, cut=lambda z: z),
            "The cut is missing: a stretched s may be below 0 or above 1, a gate may not.",
        ),
        Misconception(
            lambda alpha, u, noisy, *rest: gate(alpha, u, True, *rest),
            "You add noise in use, too. With noisy=False, s is sigmoid(alpha): no u, no "
            "temperature.",
        ),
        Misconception(
            always_cooled,
            "In use you divide by the temperature. With noisy=False, s is sigmoid(alpha).",
        ),
        Misconception(
            partial(gate, logit=lambda u: u),
            "You add u itself. The noise is log u - log(1 - u), which has no ends.",
        ),
        Misconception(
            partial(gate, logit=lambda u: np.log(1 - u) - np.log(u)),
            "The noise has the wrong sign: it is log u - log(1 - u).",
        ),
        Misconception(
            partial(gate, cooled=lambda total, temperature: total * temperature),
            "You multiply by the temperature. A low temperature makes s sharper: divide by it.",
        ),
        Misconception(
            lambda alpha, u, noisy, lower, upper, temperature: gate(
                alpha, u, noisy, lower, upper + lower, temperature
            ),
            "You stretch by `upper` alone. From lower to upper it is upper - lower wide.",
        ),
    ],
    why="The sigmoid is stretched beyond 0 and 1 and cut off there: so z is often exactly 0 or 1, "
    "and in between it has a gradient.",
)


def expected_cases(generator: np.random.Generator) -> Cases:
    """Two matrices of alphas, and one whose temperature is 1."""
    found = []
    for temperature in (0.5, 0.7, 1.0):
        alpha = generator.normal(size=(5, 7)).astype(np.float32) * 2
        lower = -round(float(generator.uniform(0.1, 0.6)), 2)
        found.append([alpha, lower, 1.4, temperature])
    return found


def expected_open(alpha, lower, upper, temperature, shift: Callable | None = None):
    """The sum of P(z > 0) = sigmoid(alpha - temperature log(-lower / upper))."""
    shift = shift or (lambda lower, upper, temperature: temperature * np.log(-lower / upper))
    return float(sigmoid(np.asarray(alpha) - shift(lower, upper, temperature)).sum())


def open_in_use(alpha, lower, upper, temperature):
    """How many gates are open without noise."""
    z = gate(alpha, 0.5 + 0 * alpha, False, lower, upper, temperature)
    return float((z > 0).sum())


def sum_of_gates(alpha, lower, upper, temperature):
    """The sum of the gates in use."""
    return float(gate(alpha, 0.5 + 0 * alpha, False, lower, upper, temperature).sum())


EXPECTED = Task(
    name="expected_open",
    title="2b. What the penalty counts",
    points=2,
    cases=expected_cases,
    answer=expected_open,
    misconceptions=[
        Misconception(
            partial(expected_open, shift=lambda *given: 0.0),
            "You added sigmoid(alpha). A gate is open already when s is above -lower / (upper - "
            "lower), which is no half here: that shifts alpha.",
        ),
        Misconception(
            partial(expected_open, shift=lambda lo, up, t: np.log(-lo / up)),
            "The temperature is missing: the noise is divided by it, so the shift is multiplied.",
        ),
        Misconception(
            partial(expected_open, shift=lambda lo, up, t: -t * np.log(-lo / up)),
            "The shift has the wrong sign: the further lower is below 0, the fewer are open.",
        ),
        Misconception(
            lambda alpha, *rest: expected_open(alpha, *rest) / np.size(alpha),
            "This is the mean of the chances. Asked for is how many are open: their sum.",
        ),
        Misconception(
            open_in_use,
            "You counted the gates that are open in use. A count has no gradient; asked for is "
            "the sum of the chances.",
        ),
        Misconception(
            sum_of_gates,
            "You added the gates. A gate of 0.3 is open all the same: add the chances of z > 0.",
        ),
        Misconception(
            partial(expected_open, shift=lambda lo, up, t: t * np.log((1 - lo) / (up - 1))),
            "This is the chance of z = 1. A gate is open from z > 0 on.",
        ),
    ],
    why="z itself jumps from closed to open and has no gradient there. The chance of being open "
    "has one, so the penalty can pull at every alpha.",
)
