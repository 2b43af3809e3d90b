"""Task 4: LoftQ's start. Li et al. 2023, arXiv 2310.08659, section 3."""

from collections.abc import Callable

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import start_seen
from .nf4 import MIDDLES, four_bits, in_blocks

Start = tuple[np.ndarray, np.ndarray, np.ndarray]
CLEAR, APART = (
    2e-5,
    0.02,
)  # how far from a tie all numbers must be, so that rounding decides nothing


def best_factors(matrix: np.ndarray, r: int, power: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """A (r, in) and B (out, r), whose product is the best rank-r matrix; each holds S^power."""
    U, S, Vh = np.linalg.svd(matrix, full_matrices=False)
    share = S[:r] ** power
    return share[:, None] * Vh[:r], U[:, :r] * share


def start(weight, r, iterations, step: Callable | None = None, last: bool = False) -> Start:
    """(Q, A, B) after some iterations; the mistakes take another step, or quantize once more."""
    weight = np.asarray(weight, np.float64)
    A, B = np.zeros((r, weight.shape[1])), np.zeros((weight.shape[0], r))
    for _ in range(iterations):
        Q, A, B = (step or right_step)(weight, A, B, r)
    return (four_bits(weight - B @ A) if last else Q), A, B


def right_step(weight, A, B, r) -> Start:
    """Quantize what the adapter leaves, then fit the adapter to what that leaves."""
    Q = four_bits(weight - B @ A)
    return Q, *best_factors(weight - Q, r)


def always_the_weight(weight, A, B, r) -> Start:
    """Quantizes W each time, so that nothing changes after the first iteration."""
    Q = four_bits(weight)
    return Q, *best_factors(weight - Q, r)


def of_the_weight(weight, A, B, r) -> Start:
    """Fits the adapter to W, in place of the error."""
    return four_bits(weight - B @ A), *best_factors(weight, r)


def wrong_sign(weight, A, B, r) -> Start:
    """Fits the adapter to Q - W: adding it makes the error twice as large where it should go."""
    Q = four_bits(weight - B @ A)
    return Q, *best_factors(Q - weight, r)


def added(weight, A, B, r) -> Start:
    """Quantizes W + B A."""
    Q = four_bits(weight + B @ A)
    return Q, *best_factors(weight - Q, r)


def twice(weight, A, B, r) -> Start:
    """The singular values in both factors."""
    Q = four_bits(weight - B @ A)
    return Q, *best_factors(weight - Q, r, power=1.0)


def is_clear(weight: np.ndarray, r: int, iterations: int) -> bool:
    """Whether no number of this case lies so near to a tie that another rounding decides it."""
    for done in range(iterations):
        _, A, B = start(weight, r, done) if done else (None, np.zeros((r, 1)), 0.0)
        scaled, _ = in_blocks(weight - (B @ A if done else 0.0))
        if np.abs(scaled[..., None] - MIDDLES).min() < CLEAR:
            return False
        Q, _, _ = start(weight, r, done + 1)
        S = np.linalg.svd(weight - Q, compute_uv=False)
        if S[r - 1] - S[r] < APART * S[r - 1]:
            return False
    return True


def cases(generator: np.random.Generator) -> Cases:
    """One iteration, then several, on matrices of three shapes."""
    found = []
    for d_out, d_in, r, iterations in (
        (12, 16, 2, 1),
        (16, 16, 3, 1),
        (16, 8, 2, 2),
        (8, 16, 2, 3),
    ):
        weight = generator.normal(size=(d_out, d_in)).astype(np.float32)
        while not is_clear(weight.astype(np.float64), r, iterations):
            weight = generator.normal(size=(d_out, d_in)).astype(np.float32)
        found.append([weight, r, iterations])
    return found


START = Task(
    name="loftq_start",
    title="4a. LoftQ's start",
    points=3,
    cases=cases,
    answer=start,
    observe=start_seen,
    tolerance=1e-3,
    parts=by_case("one iteration", "one iteration", "several", "several"),
    misconceptions=[
        Misconception(
            lambda weight, r, iterations: start(weight, r, iterations, always_the_weight),
            "You quantize W itself in every iteration, so nothing changes after the first. "
            "Quantize what the adapter leaves, W - B A.",
        ),
        Misconception(
            lambda weight, r, iterations: start(weight, r, iterations, of_the_weight),
            "You fitted the adapter to W. It should make up for the error, W - Q.",
        ),
        Misconception(
            lambda weight, r, iterations: start(weight, r, iterations, wrong_sign),
            "The adapter has the wrong sign: Q + B A should come near to W, so fit it to W - Q.",
        ),
        Misconception(
            lambda weight, r, iterations: start(weight, r, iterations, added),
            "You quantize W + B A. Q and B A share the work: Q gets what is left, W - B A.",
        ),
        Misconception(
            lambda weight, r, iterations: start(weight, r, iterations, twice),
            "The singular values stand in both factors, so B A has their squares. Give each factor "
            "their square roots, or one factor all of them.",
        ),
        Misconception(
            lambda weight, r, iterations: start(weight, r, iterations, last=True),
            "You quantize once more after the last adapter. An iteration is: quantize, then fit; "
            "it ends with the fit.",
        ),
        Misconception(
            lambda weight, r, iterations: start(weight, min(weight.shape), iterations),
            "You kept all singular values. The adapter has rank r: the first r are the best ones.",
        ),
    ],
    why="The SVD gives the best B A for a given Q, and quantizing gives a good Q for a given B A, "
    "so taking turns helps both. With B = 0 QLoRA starts at Q instead.",
)
