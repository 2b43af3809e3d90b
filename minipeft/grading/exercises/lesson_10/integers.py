"""Task 1: absmax quantization to eight bits, one scale for each block. QLoRA, section 2."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import codes_and_scale

MOST = 127  # the largest code of a symmetric int8


def blockwise(
    w: np.ndarray,
    block: int,
    most: int = MOST,
    peak: Callable = lambda rows: np.abs(rows).max(axis=1, keepdims=True),
    whole: Callable = np.rint,
) -> tuple[np.ndarray, np.ndarray]:
    """(codes (blocks, block), scale (blocks,)); w is about codes * scale. Mistakes differ in a part."""
    rows = w.reshape(-1, block)
    absmax = peak(rows) * np.ones((len(rows), 1), w.dtype)
    codes = whole(rows * most / np.where(absmax == 0, 1, absmax))
    return codes, absmax[:, 0] / most


def weights(generator: np.random.Generator, blocks: int, block: int) -> np.ndarray:
    """Weights whose codes are clear, rounded or cut off: no rounding error of 32 bits changes one.

    Steps are powers of two, so that a peak is 127 of them exactly. That of the first block is
    negative.
    """
    codes = generator.integers(-MOST + 1, MOST, (blocks, block))
    steps = codes + generator.uniform(-0.4, 0.4, codes.shape)
    at, signs = generator.integers(block, size=blocks), generator.choice([-1, 1], blocks)
    signs[0] = -1
    steps[np.arange(blocks), at] = signs * MOST
    scales = 0.5 ** generator.permutation(np.arange(8, 8 + blocks))
    return (steps * scales[:, None]).astype(np.float32).ravel()


def cases(generator: np.random.Generator) -> Cases:
    """Two weights in whole blocks, and one with a block of zeros."""
    with_zeros = weights(generator, 3, 16)
    with_zeros[16:32] = 0
    return [[weights(generator, 3, 64), 64], [weights(generator, 5, 32), 32], [with_zeros, 16]]


def interleaved(w: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of every so many-th weight."""
    return blockwise(w.reshape(block, -1).T.reshape(-1), block)


def upside_down(w: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The right codes, with what they were multiplied by in place of what brings them back."""
    codes, scale = blockwise(w, block)
    return codes, np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)


def absmax_itself(w: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The right codes, with the absmax in place of the scale."""
    codes, scale = blockwise(w, block)
    return codes, scale * MOST


WHOLE, ZEROS = "whole blocks", "a block of zeros"

INTEGERS = Task(
    name="absmax_int8",
    title="1. Absmax, block by block",
    points=2,
    cases=cases,
    answer=blockwise,
    observe=codes_and_scale,
    parts=by_case(WHOLE, WHOLE, ZEROS),
    weights={WHOLE: 3},
    misconceptions=[
        Misconception(
            partial(blockwise, peak=lambda rows: np.abs(rows).max()),
            "You take one absmax for the whole tensor. Each block has its own: that is what keeps "
            "an outlier from coarsening all the others.",
        ),
        Misconception(
            partial(blockwise, peak=lambda rows: rows.max(axis=1, keepdims=True)),
            "You divide by the largest weight. A block whose largest in size is negative then "
            "leaves the range: take the maximum of the absolute values.",
        ),
        Misconception(
            partial(blockwise, whole=np.trunc),
            "Your codes are cut off, as a cast to an integer does, and not rounded: the error "
            "doubles, and every weight shrinks towards zero.",
        ),
        Misconception(
            partial(blockwise, most=128),
            "You scale to 128. Symmetric int8 codes go from -127 to 127: +128 doesn't fit into "
            "int8 and would come back as -128.",
        ),
        Misconception(
            interleaved,
            "Your blocks are every so many-th weight. A block is a run of neighbours: "
            "w.reshape(-1, block) has one block in each row.",
        ),
        Misconception(
            upside_down,
            "Your scale is upside down: 127 / absmax makes codes, absmax / 127 brings them back.",
        ),
        Misconception(
            absmax_itself,
            "You return the absmax. Asked for is what a code is multiplied by to come back, "
            "absmax / 127.",
        ),
    ],
    why="The scale absmax / 127 is the width of a step, and rounding is at most half a step off. "
    "Per block, because the step follows the largest weight of its block alone.",
)
