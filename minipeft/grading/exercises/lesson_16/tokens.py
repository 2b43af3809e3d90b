"""Task 1: an image becomes tokens."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case

FITS = ("one channel", "three channels", "patches of 3 x 3")
ODD = "a side that does not fit"


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal numbers in float32."""
    return generator.normal(size=shape).astype(np.float32)


def cut_cases(generator: np.random.Generator) -> Cases:
    """Images of one channel and of three, of several sizes; the last side fits no patch."""
    shapes = [(2, 1, 8, 2), (2, 3, 8, 4), (3, 2, 9, 3), (2, 1, 10, 4)]
    return [[normal(generator, batch, c, side, side), p] for batch, c, side, p in shapes]


def cut(images: np.ndarray, p: int, order=(0, 2, 4, 1, 3, 5), strict: bool = True) -> np.ndarray:
    """(batch, (side / p)^2, channels p p), patch by patch; the mistakes order the axes otherwise.

    The axes are (batch, channel, row of patches, row inside, column of patches, column inside).
    """
    batch, channels, side, _ = images.shape
    if side % p and strict:
        raise ValueError(f"{side} is no multiple of {p}")
    n = side // p
    whole = images[:, :, : n * p, : n * p]
    parts = whole.reshape(batch, channels, n, p, n, p).transpose(order)
    return parts.reshape(batch, n * n, channels * p * p)


def strips(images: np.ndarray, p: int) -> np.ndarray:
    """The pixels as they lie in memory, in pieces of the right length."""
    batch, channels, side, _ = images.shape
    if side % p:
        raise ValueError(f"{side} is no multiple of {p}")
    return images.reshape(batch, (side // p) ** 2, channels * p * p)


def always_raise(images: np.ndarray, p: int) -> np.ndarray:
    """An answer that is none."""
    raise ValueError


CUT = Task(
    name="cut",
    title="1a. Cut an image",
    points=3,
    cases=cut_cases,
    answer=cut,
    parts=by_case(*FITS, ODD),
    trivial=[always_raise],
    misconceptions=[
        Misconception(
            strips,
            "You reshape the image as it lies in memory. A piece of it is a strip of one row, not "
            "a square: split both sides first, and bring the two places of the patch together.",
        ),
        Misconception(
            partial(cut, order=(0, 4, 2, 1, 3, 5)),
            "Your patches come column by column. A ViT counts them by rows: the second patch is "
            "to the right of the first.",
        ),
        Misconception(
            partial(cut, order=(0, 2, 4, 3, 5, 1)),
            "Inside a patch you put the channels last. A convolution's weight is (d, channels, p, "
            "p), so a patch is laid out by channel, then by row, then by column.",
        ),
        Misconception(
            partial(cut, order=(0, 2, 4, 1, 5, 3)),
            "Inside a patch you go down the columns. The weight of the patches goes by rows.",
        ),
        Misconception(
            partial(cut, strict=False),
            "A side that is no multiple of the patch passes in silence, and the pixels beyond the "
            "last whole patch are lost. Raise a ValueError.",
        ),
    ],
    why="Splitting each side into (place of the patch, place inside) makes six axes; the rest is "
    "their order. It is what a convolution does whose stride is its own width.",
)


def embed_cases(generator: np.random.Generator) -> Cases:
    """Three sizes; nothing in them is zero."""
    found = []
    for batch, count, pixels, d in [(2, 4, 5, 6), (1, 9, 3, 4), (3, 5, 7, 7)]:
        shapes = [(batch, count, pixels), (d, pixels), (d,), (d,), (count + 1, d)]
        found.append([normal(generator, *shape) for shape in shapes])
    return found


def embed(patches, E, b, cls, positions) -> np.ndarray:
    """[cls; E patch + b] + positions, (batch, 1 + count, d)."""
    x = patches @ E.T + b
    first = np.broadcast_to(cls, (len(x), 1, len(cls)))
    return np.concatenate([first, x], axis=1) + positions


def class_token_last(patches, E, b, cls, positions) -> np.ndarray:
    """The class token behind the patches."""
    first = embed(patches, E, b, cls, 0 * positions)
    return np.roll(first, -1, axis=1) + positions


def class_token_nowhere(patches, E, b, cls, positions) -> np.ndarray:
    """Positions on the patches alone."""
    return embed(patches, E, b, cls - positions[0], positions)


EMBED = Task(
    name="embed",
    title="1b. From patches to tokens",
    points=2,
    cases=embed_cases,
    answer=embed,
    misconceptions=[
        Misconception(
            class_token_last,
            "Your class token comes last. Here it is the first token, and the classifier reads "
            "place 0.",
        ),
        Misconception(
            lambda patches, E, b, cls, positions: embed(patches, E, b, cls, 0 * positions),
            "The positions are missing. Without them attention sees a set of patches, in no order.",
        ),
        Misconception(
            class_token_nowhere,
            "The class token has a position, too: there is one more position than patches.",
        ),
        Misconception(
            lambda patches, E, b, cls, positions: embed(patches, E, 0 * b, cls, positions),
            "The bias b is missing: each patch becomes E patch + b.",
        ),
        Misconception(
            lambda patches, E, b, cls, positions: embed(patches, E, b, cls + b, positions),
            "You send the class token through the bias as well. It is a learned vector of its own: "
            "only patches go through E and b.",
        ),
    ],
    why="From here on nothing in the model knows that this was an image: it gets N vectors, and "
    "what it knows of places is what the positions learn.",
)
