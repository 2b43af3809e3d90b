"""Task 5: an activated LoRA, which adapts the tokens from one position on.

Greenewald et al. 2025, "Activated LoRA", arXiv 2504.12397.
"""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .mixing import normal


def cases(generator: np.random.Generator) -> Cases:
    """Starts inside the text, at its first token, and behind its last."""
    found = []
    for length, kind in [(9, "inside"), (8, "inside"), (7, "edges")]:
        A, B = normal(generator, 2, 5), normal(generator, 6, 2)
        x, W0 = normal(generator, 4, length, 5), normal(generator, 6, 5)
        starts = generator.choice(np.arange(2, length - 2), 4, replace=length < 8)
        if kind == "edges":
            starts = generator.permutation([0, length, *starts[:2]])
        found.append([x, W0, A, B, float(generator.choice([0.5, 2, 3])), starts])
    return found


def alora(x, W0, A, B, scale, starts, active=lambda place, start: place >= start):
    """W0 x, and s B A x from each sample's start on; the mistakes differ in where."""
    places = np.arange(x.shape[1])
    mask = active(places, np.asarray(starts)[:, None])  # (batch, length)
    return (x @ W0.T + scale * mask[..., None] * (x @ A.T @ B.T)).astype(np.float32)


ALORA = Task(
    name="alora",
    title="5a. An adapter that keeps the cache",
    points=3,
    cases=cases,
    answer=alora,
    parts=by_case("starts inside the text", "starts inside the text", "starts at the ends"),
    misconceptions=[
        Misconception(
            partial(alora, active=lambda place, start: place > start),
            "The token at the start itself is not adapted here. It is the first that is.",
        ),
        Misconception(
            partial(alora, active=lambda place, start: place < start),
            "You adapt what stands before the start. That part is to keep the base's cache.",
        ),
        Misconception(
            partial(alora, active=lambda place, start: (place >= 0) & (start == start)),
            "Every token is adapted: that is LoRA, and the base's cache is of no use.",
        ),
        Misconception(
            partial(alora, active=lambda place, start: (place >= start[:1]) & (start == start)),
            "The first sample's start is used for the whole batch. Each sample has its own.",
        ),
        Misconception(
            partial(alora, active=lambda place, start: place == start),
            "Only the token at the start is adapted. All that follow are adapted, too.",
        ),
        Misconception(
            lambda x, W0, A, B, scale, starts: alora(x, W0, A, B, 1.0, starts),
            "The scale is missing: s B A x.",
        ),
    ],
    why="Attention looks back alone: a token before the start never sees an adapted one, so its "
    "keys and values are the base's in every layer, and can be read from the base's cache.",
)
