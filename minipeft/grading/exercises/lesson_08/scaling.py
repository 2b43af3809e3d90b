"""Task 1: a layer scaled at its outputs or at its inputs, and its merge.

Liu et al. 2022, arXiv 2205.05638, section 3.3; the two places are peft's.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import pairs_seen

OUT, IN = "scaled at the outputs", "scaled at the inputs"
SHAPES = [(5, 5, False), (4, 6, False), (5, 5, True), (4, 6, True)]  # (out, in, at the input)


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers, in float32 as torch has them."""
    return generator.normal(size=shape).astype(np.float32)


def layers(generator: np.random.Generator) -> Cases:
    """[weight, bias, factors, at_input] of each of SHAPES; no factor is near 1."""
    found = []
    for d_out, d_in, at_input in SHAPES:
        length = d_in if at_input else d_out
        scale = (generator.choice([-1, 1], length) * generator.uniform(1.3, 3, length)).astype("f4")
        found.append([normal(generator, d_out, d_in), normal(generator, d_out), scale, at_input])
    return found


def scale_cases(generator: np.random.Generator) -> Cases:
    """The same with an input in front."""
    return [[normal(generator, 3, case[0].shape[1]), *case] for case in layers(generator)]


def scale(x, weight, bias, factors, at_input):
    """h = l * (W0 x + b0), or h = W0 (l * x) + b0."""
    return (x * factors) @ weight.T + bias if at_input else factors * (x @ weight.T + bias)


def bias_apart(x, weight, bias, factors, at_input):
    """The bias is added after the scale, wherever the scale is."""
    return (x * factors) @ weight.T + bias if at_input else factors * (x @ weight.T) + bias


def everything(x, weight, bias, factors, at_input):
    """At the inputs, the bias is scaled too; that runs on a square layer alone."""
    if not at_input:
        return scale(x, weight, bias, factors, at_input)
    return (x * factors) @ weight.T + bias * factors


def other_side(x, weight, bias, factors, at_input):
    """The two places are exchanged."""
    return scale(x, weight, bias, factors, not at_input)


SCALE = Task(
    name="scale",
    title="1a. Scale",
    points=2,
    cases=scale_cases,
    answer=scale,
    calls=2,
    parts=by_case(OUT, OUT, IN, IN),
    misconceptions=[
        Misconception(
            bias_apart,
            "At the outputs the bias is left out of the scale. l multiplies the whole output, and "
            "b0 is a part of it.",
        ),
        Misconception(
            everything,
            "At the inputs you scale the bias too. There l multiplies x alone, before the layer.",
        ),
        Misconception(
            other_side,
            "The two places are exchanged: with at_input, l multiplies x, which has d_in entries.",
        ),
        Misconception(
            lambda x, weight, bias, factors, at_input: scale(x, weight, bias, factors, False),
            "You never look at at_input. With it, l multiplies the input, before the layer.",
        ),
        Misconception(
            lambda x, weight, bias, factors, at_input: scale(
                x, weight, bias, 1 + factors, at_input
            ),
            "You multiply by 1 + l. Here l itself is the factor, and it starts at one.",
        ),
        Misconception(
            lambda x, weight, bias, factors, at_input: (
                (x + factors) @ weight.T + bias if at_input else x @ weight.T + bias + factors
            ),
            "You add l. That is a shift, as in BitFit; (IA)^3 multiplies.",
        ),
    ],
    why="l * (W0 x + b0) makes outputs louder or softer, W0 (l * x) + b0 the inputs. With l = 1 "
    "both are the base.",
)


def merge(weight, bias, factors, at_input, rows: Callable = lambda factors: factors):
    """(W, b): rows scaled, the bias with them; or columns scaled, and the bias as it is."""
    factor = rows(factors)
    return (weight * factor, bias) if at_input else (factor[:, None] * weight, factor * bias)


def weight_alone(weight, bias, factors, at_input):
    """The bias is never scaled."""
    return merge(weight, bias, factors, at_input)[0], bias


def bias_always(weight, bias, factors, at_input):
    """The bias is scaled at the inputs, too; that runs on a square layer alone."""
    scaled = merge(weight, bias, factors, at_input)
    return (scaled[0], bias * factors) if at_input else scaled


def in_place(weight, bias, factors, at_input):
    """The right numbers, written over what was given."""
    weight *= factors if at_input else factors[:, None]
    bias *= 1 if at_input else factors
    return weight, bias


MERGE = Task(
    name="merge",
    title="1b. Merge",
    points=2,
    cases=layers,
    answer=merge,
    observe=pairs_seen,
    calls=2,
    parts=by_case(OUT, OUT, IN, IN),
    misconceptions=[
        Misconception(
            weight_alone,
            "You scale the weight alone. At the outputs the bias is a part of what l multiplies.",
        ),
        Misconception(
            bias_always,
            "At the inputs you scale the bias too. It is added after the layer's product, which l "
            "comes before.",
        ),
        Misconception(
            lambda weight, bias, factors, at_input: merge(weight, bias, factors, not at_input),
            "Rows and columns are exchanged: a weight is (out, in), so a scale of the outputs "
            "multiplies rows. On a square layer nothing complains.",
        ),
        Misconception(
            in_place,
            "Your function changes what it is given: a second call merges twice. Return new "
            "tensors.",
        ),
        Misconception(
            partial(merge, rows=lambda factors: 1 + factors),
            "You merge 1 + l. In this method l itself is the factor.",
        ),
        Misconception(
            partial(merge, rows=lambda factors: factors - 1),
            "This is the update, W - W0. Asked for is the merged layer itself.",
        ),
    ],
    why="diag(l) W0 scales rows and W0 diag(l) scales columns: either is one matrix, so (IA)^3 "
    "costs nothing at use.",
)
