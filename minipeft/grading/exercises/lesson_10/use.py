"""Task 6a: the entropy of the codes, which says how evenly they are used."""

import math

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import number


def entropy(codes: np.ndarray) -> float:
    """- sum of p log2 p over the codes that occur, in bits."""
    share = np.unique(codes, return_counts=True)[1] / codes.size
    return float(-(share * np.log2(share)).sum())


def cases(generator: np.random.Generator) -> Cases:
    """Uneven use, some codes never used, all used alike, one code alone."""
    uneven = generator.choice(15, 400, p=generator.dirichlet(np.full(15, 3.0)))
    uneven[0] = 15  # a code that occurs once
    some = generator.choice(generator.choice(16, 9, replace=False), 300)
    alike = generator.permutation(np.repeat(np.arange(16), 25))
    alone = np.full(50, int(generator.integers(16)))
    return [[codes.astype(np.uint8)] for codes in (uneven, some, alike, alone)]


ENTROPY = Task(
    name="code_entropy",
    title="6a. How evenly are the codes used?",
    points=2,
    cases=cases,
    answer=entropy,
    observe=number,
    parts=by_case("uneven use", "codes that never occur", "all alike", "all alike"),
    misconceptions=[
        Misconception(
            lambda codes: math.log(2) * entropy(codes),
            "You took the natural logarithm: these are nats. Bits have the logarithm to base 2.",
        ),
        Misconception(
            lambda codes: math.log2(len(np.unique(codes))),
            "You count which codes occur, not how often. A code that is used once in a thousand "
            "weights hardly counts.",
        ),
        Misconception(
            lambda codes: -entropy(codes),
            "The sign is turned: the logarithm of a share is negative, so the sum needs a minus.",
        ),
        Misconception(
            lambda codes: 2 ** entropy(codes),
            "That is two to the power of the entropy, how many even codes would do as much. Asked "
            "for are the bits themselves.",
        ),
        Misconception(
            lambda codes: entropy(codes) / len(np.unique(codes)),
            "You took a mean over the codes. The shares weigh already: take the sum.",
        ),
    ],
    why="Four bits carry at most 4 bits of information, and only if all 16 codes are used alike. "
    "The entropy says how much they carry.",
)
