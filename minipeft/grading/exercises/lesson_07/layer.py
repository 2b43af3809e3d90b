"""Task 1: a bottleneck adapter, and its three places in a block.

Houlsby et al. 2019, arXiv 1902.00751, section 2.1; He et al. 2022, arXiv 2110.04366, Table 1.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from ..lesson_12.merges import normal

HOULSBY, PFEIFFER, PARALLEL = "houlsby", "pfeiffer", "parallel"
Array = np.ndarray


def relu(v: Array) -> Array:
    """The larger of v and 0."""
    return np.maximum(v, 0)


def network(generator: np.random.Generator, d: int, r: int) -> list[object]:
    """[down, b_down, up, b_up, s] of one trained adapter, its scale not 1."""
    parts = [normal(generator, r, d), normal(generator, r), normal(generator, d, r)]
    return [*parts, normal(generator, d), float(generator.choice([0.5, 2, 4]))]


def adapter_cases(generator: np.random.Generator) -> Cases:
    """Adapters that read h itself, and adapters that read something else."""
    found = []
    for d, r, reads_h in [(6, 3, True), (8, 2, True), (6, 3, False), (5, 4, False)]:
        h = normal(generator, 7, d)
        z = h.copy() if reads_h else normal(generator, 7, d)
        found.append([z, h, *network(generator, d, r)])
    return found


def add_adapter(z, h, down, b_down, up, b_up, s, skip: Callable = lambda z, h: h, act=relu):
    """h + s (up act(down z + b_down) + b_up); the mistakes differ in the skip and in act."""
    return skip(z, h) + s * (act(z @ down.T + b_down) @ up.T + b_up)


def act_last(z, h, down, b_down, up, b_up, s):
    """The nonlinearity after the second matrix."""
    return h + s * relu((z @ down.T + b_down) @ up.T + b_up)


def scaled_as_a_whole(z, h, down, b_down, up, b_up, s):
    """The scale on the skip as well."""
    return s * (h + relu(z @ down.T + b_down) @ up.T + b_up)


def bias_unscaled(z, h, down, b_down, up, b_up, s):
    """The scale on the product alone, not on the bias behind it."""
    return h + s * relu(z @ down.T + b_down) @ up.T + b_up


READS_H, READS_OTHER = "an adapter that reads h", "an adapter that reads something else"

ADAPTER = Task(
    name="add_adapter",
    title="1a. Add an adapter",
    points=2,
    cases=adapter_cases,
    answer=add_adapter,
    calls=2,
    parts=by_case(READS_H, READS_H, READS_OTHER, READS_OTHER),
    misconceptions=[
        Misconception(
            partial(add_adapter, skip=lambda z, h: 0),
            "The skip is missing: what the base computed, h, is gone. Add the adapter to it.",
        ),
        Misconception(
            partial(add_adapter, skip=lambda z, h: z),
            "You add the adapter to what it reads. It is added to h; only where z is h itself do "
            "the two agree.",
        ),
        Misconception(
            partial(add_adapter, act=lambda v: v),
            "The nonlinearity is missing. This is a product of two matrices, a LoRA with biases.",
        ),
        Misconception(
            act_last,
            "The nonlinearity comes after the second matrix. It belongs into the bottleneck, "
            "between down and up; behind up it lets numbers of one sign through alone.",
        ),
        Misconception(
            scaled_as_a_whole,
            "You scale the sum. The scale s belongs to what is added, not to h.",
        ),
        Misconception(
            bias_unscaled,
            "The last bias escapes the scale: s multiplies the product and b_up alike.",
        ),
        Misconception(
            lambda z, h, down, b_down, up, b_up, s: add_adapter(z, h, down, b_down, up, b_up, 1.0),
            "The scale s was dropped: what the adapter gives is added as it is.",
        ),
        Misconception(
            lambda z, h, down, b_down, up, b_up, s: add_adapter(z, h, down, 0, up, 0, s),
            "The biases are missing: both layers of the adapter have one.",
        ),
    ],
    why="A bottleneck adapter is a network with one narrow layer and a skip around it. With up "
    "and b_up at zero the skip alone is left, and the model is the base.",
)


def block_cases(generator: np.random.Generator) -> Cases:
    """Each style twice."""
    found = []
    for style in (HOULSBY, PFEIFFER, PARALLEL) * 2:
        d, r = int(generator.integers(5, 9)), 3
        square = [normal(generator, d, d) / 2 for _ in range(2)]
        downs, ups = normal(generator, 2, r, d), normal(generator, 2, d, r)
        found.append([normal(generator, 4, d), *square, downs, ups, style])
    return found


def change(z: Array, down: Array, up: Array) -> Array:
    """What an adapter without biases adds, at scale 1."""
    return relu(z @ down.T) @ up.T


def block(x, attention, mlp, downs, ups, style, reads: Callable | None = None, first=True):
    """The stream after a block; some mistakes read other things, or leave the first adapter out."""
    start, h = x, x @ attention.T
    if style == HOULSBY and first:
        h = h + change(h, downs[0], ups[0])
    x = x + h
    h = np.tanh(x @ mlp.T)
    z = {HOULSBY: h, PFEIFFER: x + h, PARALLEL: x}[style]
    z = z if reads is None else reads(style, z, start, x, h)
    return x + h + change(z, downs[1], ups[1])


def of_the_sum(x, attention, mlp, downs, ups, style):
    """Houlsby's adapters read the stream after the sum, not the part that is added to it."""
    x = x + x @ attention.T
    if style == HOULSBY:
        x = x + change(x, downs[0], ups[0])
    h = np.tanh(x @ mlp.T)
    z = {HOULSBY: x + h, PFEIFFER: x + h, PARALLEL: x}[style]
    return x + h + change(z, downs[1], ups[1])


def skip_twice(x, attention, mlp, downs, ups, style):
    """The adapter brings its own skip, and the block adds h once more."""
    h = x @ attention.T
    if style == HOULSBY:
        h = h + h + change(h, downs[0], ups[0])
    x = x + h
    h = np.tanh(x @ mlp.T)
    z = {HOULSBY: h, PFEIFFER: x + h, PARALLEL: x}[style]
    return x + h + z + change(z, downs[1], ups[1])


BLOCK = Task(
    name="block",
    title="1b. Three places",
    points=3,
    cases=block_cases,
    answer=block,
    parts=by_case(HOULSBY, PFEIFFER, PARALLEL, HOULSBY, PFEIFFER, PARALLEL),
    misconceptions=[
        Misconception(
            partial(block, first=False),
            "Houlsby's style has two adapters in a block. The one after attention is missing.",
        ),
        Misconception(
            partial(block, reads=lambda style, z, start, x, h: h if style == PFEIFFER else z),
            "Pfeiffer's adapter reads x + h, the stream with what the MLP adds to it, not h alone.",
        ),
        Misconception(
            partial(block, reads=lambda style, z, start, x, h: h),
            "Your adapter after the MLP reads h whatever the style. Pfeiffer's reads x + h, the "
            "parallel one reads x.",
        ),
        Misconception(
            partial(block, reads=lambda style, z, start, x, h: start if style == PARALLEL else z),
            "The parallel adapter stands beside the MLP and reads the stream there: after "
            "attention was added. Yours reads the block's own input.",
        ),
        Misconception(
            of_the_sum,
            "Houlsby's adapters read what attention or the MLP gives, before it is added to the "
            "stream. Yours read the sum.",
        ),
        Misconception(
            skip_twice,
            "What the adapter reads is added once more: the skip is there twice. Add only the "
            "adapter's change, since the block adds h already.",
        ),
        Misconception(
            lambda x, attention, mlp, downs, ups, style: block(
                x, attention, mlp, downs[::-1], ups[::-1], style
            ),
            "The adapters have changed places: number 0 comes after attention, number 1 belongs "
            "to the MLP.",
        ),
    ],
    why="The three styles are one network in three places: they differ in what it reads, and in "
    "how many there are. A sequential adapter reads h, a parallel one what h is made from.",
)
