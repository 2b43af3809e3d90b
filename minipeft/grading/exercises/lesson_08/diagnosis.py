"""Task 4, the bug zoo: (IA)^3 on square layers with a bias, told by the numbers of its merge."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, misnamed, one_name_for_all

HEALTHY = "healthy"
SILENT = "zero start"
SIDE = "wrong side"
TWICE = "merged twice"
BIAS = "bias mishandled"
ONE_PLUS = "one too many"
SPECIMENS = [HEALTHY, SILENT, SIDE, TWICE, BIAS, ONE_PLUS]
SCALES = (-1.5, -0.5, 0.5, 1.5, 2.5, 3.0)  # sums, squares and products stay exact in float32


def on_grid(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Multiples of 1/64 that are not zero, in float32."""
    whole = generator.integers(1, 200, shape) * generator.choice([-1, 1], shape)
    return whole.astype(np.float32) / 64


def specimen(generator: np.random.Generator, bug: str, at_input: bool) -> dict[str, object]:
    """The record of one layer with one bug (or none)."""
    d = int(generator.integers(6, 10))
    weight, bias = on_grid(generator, d, d), on_grid(generator, d)
    scale = generator.permutation(np.resize(SCALES, d)).astype(np.float32)
    factor = {TWICE: scale**2, ONE_PLUS: 1 + scale}.get(bug, scale)
    by_column = at_input != (bug == SIDE)
    with_bias = at_input == (bug == BIAS)
    return {
        "weight": weight,
        "bias": bias,
        "at_input": at_input,
        "start": np.zeros_like(scale) if bug == SILENT else np.ones_like(scale),
        "l": scale,
        "merged_weight": weight * factor if by_column else factor[:, None] * weight,
        "merged_bias": factor * bias if with_bias else bias,
    }


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen at the outputs and at the inputs, in a random order."""
    kinds = [(bug, at_input) for bug in SPECIMENS for at_input in (False, True)]
    return [[specimen(generator, *kinds[i])] for i in generator.permutation(len(kinds))]


def scaled(record: dict, factor: np.ndarray, by_column: bool) -> np.ndarray:
    """The weight with its columns or rows multiplied."""
    return record["weight"] * (factor if by_column else factor[:, None])


def diagnose(record: dict, blind_to: str | None = None) -> str:
    """What is wrong with the record; a wrong answer is one that is blind to some bug."""
    scale, at_input, merged = record["l"], bool(record["at_input"]), record["merged_weight"]
    right_bias = record["bias"] if at_input else scale * record["bias"]
    right = np.allclose(merged, scaled(record, scale, at_input))
    signs = {
        SILENT: not np.any(record["start"]),
        SIDE: np.allclose(merged, scaled(record, scale, not at_input)),
        TWICE: np.allclose(merged, scaled(record, scale**2, at_input)),
        BIAS: right and not np.allclose(record["merged_bias"], right_bias),
        ONE_PLUS: np.allclose(merged, scaled(record, 1 + scale, at_input)),
    }
    return next((bug for bug, sign in signs.items() if sign and bug != blind_to), HEALTHY)


def always_rows(record: dict) -> str:
    """Takes every layer for one that is scaled at its outputs."""
    return diagnose(record | {"at_input": False})


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
            "You call every layer healthy. None of them raised an error: the numbers tell.",
        ),
        Misconception(
            always_rows,
            "You never look at `at_input`. There columns are scaled and the bias is not, so a "
            "right merge looks wrong to you.",
        ),
        Misconception(
            partial(diagnose, blind_to=BIAS),
            "You compare weights alone. At the outputs the bias must be scaled with them, at the "
            "inputs it must stay.",
        ),
        Misconception(
            partial(diagnose, blind_to=SILENT),
            "You never look at `start`. With l = 0 the layer says nothing at step 0: (IA)^3 "
            "starts at one.",
        ),
        Misconception(
            partial(misnamed, diagnose, {TWICE: ONE_PLUS, ONE_PLUS: TWICE}),
            "You exchange two bugs: a second merge multiplies by l squared, one too many by 1 + l.",
        ),
        Misconception(
            partial(misnamed, diagnose, {SIDE: BIAS}),
            "You take the wrong side for a mishandled bias. There the weight itself is scaled "
            "along the other axis.",
        ),
        Misconception(
            partial(misnamed, diagnose, {ONE_PLUS: TWICE}),
            "You call one too many a double merge. After two merges the factor is l squared; "
            "divide `merged_weight` by `weight`.",
        ),
    ],
    why="A merge has one invariant: merged / W0 is l along the axis that the method names, and the "
    "bias goes with the rows. Each bug breaks it in its own way, and none raises an error.",
)
