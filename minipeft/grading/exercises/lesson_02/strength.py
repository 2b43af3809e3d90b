"""Task 3: rank says nothing of size, and one number that counts strong components only.

The stable rank is the squared Frobenius norm over the squared spectral norm.
"""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import rank_and_size
from .cutting import falling, of_spectrum


def build_cases(generator: np.random.Generator) -> Cases:
    """Rank 1 and huge, rank 2 and tiny, rank 4 and middling; none is square or of size 1."""
    sizes = [float(np.round(size, 6)) for size in generator.uniform(2, 9, 3) * [1e4, 1e-3, 10]]
    return [[5, 7, 1, sizes[0]], [8, 6, 2, sizes[1]], [9, 7, 4, sizes[2]]]


def build(d_out, d_in, r, size, rank=None):
    """r equal components that add up to the size."""
    r = r if rank is None else rank
    return np.eye(d_out, d_in) * (np.arange(d_in) < r) * size / np.sqrt(r)


def full(d_out, d_in, r, size):
    """The size is right, the rank is that of noise."""
    return build(d_out, d_in, r, size, rank=min(d_out, d_in))


BUILD = Task(
    name="of_rank_and_size",
    title="3a. Any rank, any size",
    points=2,
    cases=build_cases,
    answer=build,
    observe=rank_and_size,
    tolerance=1e-3,
    parts=by_case("rank 1, huge", "rank 2, tiny", "rank 4, middling"),
    misconceptions=[
        Misconception(
            full,
            "The size is right and the rank is full. A matrix of rank r is a product of two thin "
            "ones: (d_out, r) times (r, d_in).",
        ),
        Misconception(
            partial(build, rank=1),
            "Your matrix has rank 1, whatever r is. Add r components, or multiply two thin "
            "matrices with r in the middle.",
        ),
        Misconception(
            lambda d_out, d_in, r, size: build(d_in, d_out, r, size),
            "The shape is turned round: asked for are d_out rows and d_in columns.",
        ),
        Misconception(
            lambda d_out, d_in, r, size: build(d_out, d_in, r, np.sqrt(size)),
            "The energy is as asked, the sum of the squares. The size is its root.",
        ),
        Misconception(
            lambda d_out, d_in, r, size: build(d_out, d_in, r, size * np.sqrt(d_out * d_in)),
            "You gave every entry the asked size, on average. The size of a matrix is the root of "
            "the sum of all squared entries.",
        ),
        Misconception(
            lambda d_out, d_in, r, size: build(d_out, d_in, r, 1.0),
            "Your matrix has size 1. A low rank does not make a matrix small: divide by the norm, "
            "then multiply by the size that is asked for.",
        ),
    ],
    why="A factor in front of a matrix changes its size and leaves its rank alone: an update of "
    "rank 1 may be as large as you like, and one of full rank as small.",
)


def stable_cases(generator: np.random.Generator) -> Cases:
    """One strong component in noise, several equal ones, and a falling spectrum, at any size."""
    spectra = [
        np.concatenate([[1.0], generator.uniform(0.02, 0.1, 6)]),
        np.concatenate([np.ones(int(generator.integers(3, 6))), [0.4, 0.3]]),
        falling(generator, 8),
    ]
    shapes, sizes = [(10, 7), (8, 12), (9, 9)], generator.uniform(2, 9, 3) * [100, 1, 0.01]
    return [
        [of_spectrum(generator, *shape, values * size).astype("f4")]
        for shape, values, size in zip(shapes, spectra, sizes, strict=True)
    ]


def stable(matrix, power=2, root=1):
    """Energy over the largest component's; the mistakes differ in powers."""
    S = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    return float(((S**power).sum() / S[0] ** power) ** root)


def participation(matrix):
    """The squared sum of the values over the sum of their squares."""
    S = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    return float(S.sum() ** 2 / (S**2).sum())


STABLE = Task(
    name="stable_rank",
    title="3b. The stable rank",
    points=2,
    cases=stable_cases,
    answer=stable,
    tolerance=1e-3,
    parts=by_case("one component in noise", "several equal ones", "a falling spectrum"),
    misconceptions=[
        Misconception(
            partial(stable, root=0.5),
            "This is the ratio of the two norms. Both are squared before they are divided.",
        ),
        Misconception(
            partial(stable, power=1),
            "You added the singular values themselves. The Frobenius norm squared is the sum of "
            "their squares.",
        ),
        Misconception(
            lambda matrix: float(np.linalg.matrix_rank(matrix)),
            "This is the rank: every component counts as one, however weak. The stable rank "
            "weighs each by its energy.",
        ),
        Misconception(
            lambda matrix: float((np.asarray(matrix, np.float64) ** 2).sum()),
            "This is the energy alone, which grows with the size. Divide by the energy of the "
            "strongest component.",
        ),
        Misconception(
            lambda matrix: float((matrix**2).sum() / np.abs(matrix).max() ** 2),
            "You divided by the largest entry. The spectral norm is the largest singular value.",
        ),
        Misconception(
            participation,
            "This is another soft rank, the squared sum over the sum of squares. Asked for is the "
            "energy over that of the strongest component.",
        ),
    ],
    why="Divided by the strongest component's energy, the energy counts components by how strong "
    "they are: noise hardly moves it, a factor in front not at all.",
)
