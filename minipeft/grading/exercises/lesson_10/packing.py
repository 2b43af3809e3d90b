"""Task 3: two codes in a byte, and the way back from bytes to weights."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import plain
from .levels import NF4, normal_levels


def pack(codes: np.ndarray, pair: Callable = lambda first, second: 16 * first + second):
    """Neighbours share a byte, the first in its high half; an odd one out is joined by 0."""
    even = np.append(codes, np.zeros(len(codes) % 2, codes.dtype)).astype(np.int64)
    return pair(even[0::2], even[1::2])


def half_with_half(codes: np.ndarray) -> np.ndarray:
    """The first half of the codes in the high halves, the second in the low ones."""
    even = np.append(codes, np.zeros(len(codes) % 2, codes.dtype)).astype(np.int64)
    first, second = even.reshape(2, -1)
    return 16 * first + second


def padded_in_front(codes: np.ndarray) -> np.ndarray:
    """The 0 of an odd number of codes before them."""
    return pack(np.append(np.zeros(len(codes) % 2, codes.dtype), codes))


def some_codes(generator: np.random.Generator, n: int) -> np.ndarray:
    """Random codes, the first and the last of them not zero and not their neighbours'."""
    codes = generator.integers(0, 16, n)
    codes[0], codes[1], codes[-1] = 3, 12, 9
    return codes.astype(np.uint8)


PAIRS, ODD = "an even number", "an odd number"

PACK = Task(
    name="pack",
    title="3a. Two codes, one byte",
    points=2,
    cases=lambda generator: [[some_codes(generator, n)] for n in (8, 22, 15)],
    answer=pack,
    observe=plain,
    parts=by_case(PAIRS, PAIRS, ODD),
    weights={PAIRS: 2},
    misconceptions=[
        Misconception(
            partial(pack, pair=lambda first, second: 16 * second + first),
            "Your first code is in the low half of its byte, as ONNX has it. bitsandbytes puts the "
            "first into the high half: 16 times the first, plus the second.",
        ),
        Misconception(
            half_with_half,
            "You pair the first half of the codes with the second half. Here neighbours share a "
            "byte: codes 0 and 1, then 2 and 3.",
        ),
        Misconception(
            partial(pack, pair=lambda first, second: first + second),
            "You add the two codes without shifting the first. It must be moved up four bits, "
            "times 16, or nobody can tell them apart.",
        ),
        Misconception(
            partial(pack, pair=lambda first, second: 256 * first + second),
            "You shift by eight bits, a whole byte. A code has four: the largest byte is 255.",
        ),
        Misconception(
            lambda codes: pack(codes[: len(codes) // 2 * 2]),
            "With an odd number of codes the last one is lost. Give it a byte of its own, the low "
            "half zero.",
        ),
        Misconception(
            padded_in_front,
            "With an odd number of codes you put the zero in front, and every pair shifts by one. "
            "It belongs at the end.",
        ),
    ],
    why="16 times the first plus the second is a number from 0 to 255 that only these two codes "
    "make: division by 16 gives back the first, the remainder the second.",
)


def unpacked(packed: np.ndarray) -> np.ndarray:
    """The codes, two from each byte, the high half first."""
    return np.stack([packed // 16, packed % 16], axis=1).ravel()


def restore(packed, absmax, levels, block, n, read=unpacked, scales=np.repeat) -> np.ndarray:
    """level[code] * absmax of the block, n weights; the mistakes read or scale otherwise."""
    codes = read(packed)[:n]
    return levels[codes] * scales(absmax, block)[:n]


def by_an_even_scale(packed, absmax, levels, block, n) -> np.ndarray:
    """As if the 16 levels were evenly spaced."""
    return restore(packed, absmax, np.linspace(-1, 1, 16), block, n)


def by_mirrored_levels(packed, absmax, levels, block, n) -> np.ndarray:
    """As if the levels below zero were those above, with a minus."""
    return restore(packed, absmax, mirrored(levels), block, n)


def mirrored(levels: np.ndarray) -> np.ndarray:
    """The levels above zero, and the same below."""
    return np.concatenate([-levels[:7:-1], levels[8:]])


def restore_cases(generator: np.random.Generator) -> Cases:
    """Whole blocks, and a last block that is short."""
    found = []
    for block, n in ((16, 64), (32, 96), (16, 41)):
        codes = generator.integers(0, 16, n)
        codes[:16] = generator.permutation(16)
        absmax = generator.uniform(0.2, 2, -(n // -block)).astype(np.float32)
        levels = normal_levels(*NF4).astype(np.float32)
        found.append([pack(codes).astype(np.uint8), absmax, levels, block, n])
    return found


WHOLE, SHORT = "whole blocks", "a short last block"

RESTORE = Task(
    name="restore",
    title="3b. From bytes to weights",
    points=3,
    cases=restore_cases,
    answer=restore,
    parts=by_case(WHOLE, WHOLE, SHORT),
    weights={WHOLE: 2},
    misconceptions=[
        Misconception(
            partial(restore, read=lambda packed: np.stack([packed % 16, packed // 16], 1).ravel()),
            "You read the low half of each byte first, so neighbours change places. The first of "
            "two weights is in the high half.",
        ),
        Misconception(
            partial(restore, read=lambda packed: np.append(packed // 16, packed % 16)),
            "You put all high halves first, then all low ones. The two codes of a byte are "
            "neighbours: interleave them.",
        ),
        Misconception(
            partial(restore, scales=lambda absmax, block: np.ones(len(absmax) * block)),
            "The scale isn't applied on the way back: a level is a share of its block's absmax.",
        ),
        Misconception(
            partial(
                restore, scales=lambda absmax, block: np.full(len(absmax) * block, absmax.max())
            ),
            "You multiply all weights by the largest absmax. Each block has its own.",
        ),
        Misconception(
            partial(restore, scales=lambda absmax, block: np.repeat(absmax, 2 * block)),
            "You count a block in bytes. `block` counts weights, and a byte holds two.",
        ),
        Misconception(
            by_an_even_scale,
            "You treat the codes as even steps from -1 to 1. They are places in `levels`, which "
            "are not evenly spaced.",
        ),
        Misconception(
            by_mirrored_levels,
            "You took the levels below zero for the mirror image of those above. NF4 has 7 below, "
            "zero and 8 above: use `levels` as it is.",
        ),
        Misconception(
            partial(restore, scales=lambda absmax, block: 1 / np.repeat(absmax, block)),
            "You divide by the absmax again. It was divided out on the way in, so multiply on the "
            "way back.",
        ),
    ],
    why="Half a byte finds one of 16 levels, and one number for each block gives it its size. All "
    "of it is a look-up and a product, so it can be done anew in every forward pass.",
)
