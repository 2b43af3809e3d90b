"""Task 5: how many layers to checkpoint as one. Chen et al. 2016, arXiv 1604.06174, section 3."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task
from .asked import segment_parts


def peak(layers, input_bytes, inside_bytes, segment, **wrong):
    """Inputs of all segments, and all of one segment while it is computed again."""
    segments = layers // segment if "floor" in wrong else -(-layers // segment)
    again = segment * inside_bytes
    if "inputs_inside" not in wrong:
        again += (segment if "twice" in wrong else segment - 1) * input_bytes
    if "no_segment" in wrong:
        again = 0
    if "one_layer" in wrong:
        again = inside_bytes
    return segments * input_bytes + again


def best(layers, input_bytes, inside_bytes, choose=min, **wrong):
    """(segment, peak) of the lowest peak; the shorter segment where two are equal."""
    peaks = {k: peak(layers, input_bytes, inside_bytes, k, **wrong) for k in range(1, layers + 1)}
    segment = choose(peaks, key=peaks.get)
    return segment, peaks[segment]


def square_root(layers, input_bytes, inside_bytes):
    """The rule of thumb, taken for the answer."""
    segment = round(layers**0.5)
    return segment, peak(layers, input_bytes, inside_bytes, segment)


def each_layer(layers, input_bytes, inside_bytes):
    """What libraries do, taken for the answer."""
    return 1, peak(layers, input_bytes, inside_bytes, 1)


def cases(generator: np.random.Generator) -> Cases:
    """Much inside a layer, as in a transformer; little; and between."""
    found = []
    while len(found) < 4:
        layers, low, high = [(40, 12, 30), (50, 0, 1), (64, 1, 3), (90, 0, 2)][len(found)]
        layers += int(generator.integers(0, 9))
        input_bytes = 256 * int(generator.integers(50, 900))
        inside_bytes = int(input_bytes * generator.uniform(low, high) / 256) * 256 + 256
        found.append([layers, input_bytes, inside_bytes])
    return found


SEGMENT = Task(
    name="best_segment",
    title="5a. Run the experiment",
    points=3,
    cases=cases,
    answer=best,
    parts=segment_parts,
    misconceptions=[
        Misconception(
            each_layer,
            "You always checkpoint each layer by itself. With little inside a layer, its input is "
            "the larger part, and longer segments need fewer inputs.",
        ),
        Misconception(
            square_root,
            "The square root of the number of layers is the best segment only where a layer keeps "
            "next to nothing but its input. Try all lengths and compare the peaks.",
        ),
        Misconception(
            partial(best, inputs_inside=True),
            "While a segment is computed again, the inputs of its layers are there as well, but for "
            "the first, which was kept.",
        ),
        Misconception(
            partial(best, twice=True),
            "You count the input of the segment that is computed again twice: it is one of those "
            "that were kept.",
        ),
        Misconception(
            partial(best, floor=True),
            "A last segment that is shorter keeps its input, too: round the number of segments up.",
        ),
        Misconception(
            partial(best, one_layer=True),
            "A whole segment is computed again before its backward pass begins, so all of its "
            "layers are there at once, not one.",
        ),
        Misconception(
            partial(best, no_segment=True),
            "You count what is kept and forget what is computed again. Both are there at the peak.",
        ),
        Misconception(
            partial(best, choose=max),
            "You return the segment with the highest peak. The lowest is asked for.",
        ),
        Misconception(
            lambda *given: best(*given)[::-1],
            "The pair is turned round: the segment first, then the peak.",
        ),
    ],
    why="The peak is about (n / k) times an input plus k times a layer: lowest near k = "
    "sqrt(n x input / (input + inside)). A transformer's layer keeps many times its input, so k = 1.",
)
