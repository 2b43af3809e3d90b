"""Task 1: merge LoRA, whichever way the weight is stored, and DoRA.

LoRA, arXiv 2106.09685, section 4.1; DoRA, arXiv 2402.09353, section 4.1.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers, in float32 as torch has them."""
    return generator.normal(size=shape).astype(np.float32)


def low_rank(generator: np.random.Generator, d_out: int, d_in: int, r: int) -> list[object]:
    """[A, B, alpha] of one trained adapter; its scale is neither 1 nor 2."""
    alpha = r * float(generator.choice([0.5, 3, 4, 6]))
    return [normal(generator, r, d_in), normal(generator, d_out, r), alpha]


def merge_cases(generator: np.random.Generator) -> Cases:
    """Both layouts, each square and not."""
    found = []
    for d_out, d_in, r, turned in [
        (6, 6, 2, False), (5, 8, 3, False), (6, 6, 2, True), (9, 4, 2, True)
    ]:  # fmt: skip
        shape = (d_in, d_out) if turned else (d_out, d_in)
        A, B, alpha = low_rank(generator, d_out, d_in, r)
        found.append([normal(generator, *shape), A, B, alpha, turned])
    return found


def merge(weight, A, B, alpha, fan_in_fan_out, scale=lambda alpha, A: alpha / A.shape[0]):
    """W0 + s B A in W0's own layout; some mistakes differ in s."""
    update = scale(alpha, A) * (B @ A)
    return weight + (update.T if fan_in_fan_out else update)


def merge_in_place(weight, A, B, alpha, fan_in_fan_out):
    """The right sum, written over the given weight."""
    update = alpha / A.shape[0] * (B @ A)
    weight += update.T if fan_in_fan_out else update
    return weight


def always_out_in(weight, A, B, alpha, fan_in_fan_out):
    """The right numbers, turned to (out, in) whatever was given."""
    W0 = weight.T if fan_in_fan_out else weight
    return W0 + alpha / A.shape[0] * (B @ A)


PLAIN, TURNED = "a weight stored as (out, in)", "a weight stored as (in, out)"

MERGE = Task(
    name="merge",
    title="1a. Merge LoRA",
    points=2,
    cases=merge_cases,
    answer=merge,
    calls=2,
    parts=by_case(PLAIN, PLAIN, TURNED, TURNED),
    misconceptions=[
        Misconception(
            lambda weight, A, B, alpha, turned: merge(weight, A, B, alpha, False),
            "You never look at fan_in_fan_out. With it the weight is stored as (in, out), so the "
            "update must be turned too; on a square layer nothing complains if it isn't.",
        ),
        Misconception(
            lambda weight, A, B, alpha, turned: merge(weight, A, B, alpha, not turned),
            "You turn the update in the wrong case: it is (out, in), as an nn.Linear stores its "
            "weight. Turn it where fan_in_fan_out is true.",
        ),
        Misconception(
            always_out_in,
            "The numbers are right, but with fan_in_fan_out you give the weight back as (out, in). "
            "The layer it goes into stores (in, out).",
        ),
        Misconception(
            partial(merge, scale=lambda alpha, A: 1.0),
            "The scale was dropped: W0 + B A is not the model that was trained, unless alpha "
            "happens to equal r.",
        ),
        Misconception(
            partial(merge, scale=lambda alpha, A: alpha),
            "You scale by alpha alone. The trained layer scales by alpha / r, and so must the "
            "merge.",
        ),
        Misconception(
            merge_in_place,
            "Your function changes the weight that it is given: a second call merges twice, and "
            "nobody can undo it exactly. Return a new matrix.",
        ),
        Misconception(
            lambda weight, A, B, alpha, turned: merge(0 * weight, A, B, alpha, turned),
            "This is the update alone. The merged weight is W0 plus the update.",
        ),
    ],
    why="(W0 + s B A) x = W0 x + s B (A x), so one matrix does the work of three. How a layer "
    "stores its matrix changes nothing of that, but the sum must be taken in one layout.",
)


def dora_cases(generator: np.random.Generator) -> Cases:
    """A square layer, a tall one and a wide one."""
    found = []
    for d_out, d_in, r in [(6, 6, 2), (9, 4, 2), (5, 8, 3)]:
        A, B, alpha = low_rank(generator, d_out, d_in, r)
        magnitude = generator.uniform(0.5, 3, d_out).astype(np.float32)
        found.append([normal(generator, d_out, d_in), A, B, magnitude, alpha])
    return found


def row_norms(V: np.ndarray) -> np.ndarray:
    """The length of each row, (out, 1)."""
    return np.linalg.norm(V, axis=1, keepdims=True)


def merge_dora(
    weight, A, B, magnitude, alpha, norms: Callable = lambda V, weight: row_norms(V), scaled=True
):
    """m * V / ||V||, row by row, with V = W0 + s B A; some mistakes differ in the norm."""
    V = weight + (alpha / A.shape[0] if scaled else 1.0) * (B @ A)
    return magnitude[:, None] * V / norms(V, weight)


def by_columns(weight, A, B, magnitude, alpha):
    """Columns scaled in place of rows, which a square layer alone allows."""
    V = weight + alpha / A.shape[0] * (B @ A)
    return magnitude * V / np.linalg.norm(V, axis=0)


MERGE_DORA = Task(
    name="merge_dora",
    title="1b. Merge DoRA",
    points=2,
    cases=dora_cases,
    answer=merge_dora,
    parts=by_case("a square layer", "a tall layer", "a wide layer"),
    misconceptions=[
        Misconception(
            by_columns,
            "You scale columns. Here a weight is (out, in), and DoRA has one magnitude for each "
            "output: the norm runs along each row.",
        ),
        Misconception(
            partial(merge_dora, norms=lambda V, weight: row_norms(weight)),
            "You divide by the norms of W0. The direction is V / ||V|| with V = W0 + s B A, so "
            "the norms are those of V.",
        ),
        Misconception(
            partial(merge_dora, norms=lambda V, weight: 1.0),
            "The norm is missing: m scales a direction of length 1, V / ||V||, not V itself.",
        ),
        Misconception(
            partial(merge_dora, norms=lambda V, weight: np.linalg.norm(V)),
            "You divide by one norm of the whole matrix. Each row has a norm of its own.",
        ),
        Misconception(
            partial(merge_dora, scaled=False),
            "The scale alpha / r is missing inside V = W0 + s B A.",
        ),
        Misconception(
            lambda weight, A, B, magnitude, alpha: (
                weight + magnitude[:, None] * (alpha / A.shape[0] * (B @ A)) / row_norms(B @ A)
            ),
            "You scale the update alone. DoRA's magnitude acts on the whole sum W0 + s B A.",
        ),
    ],
    why="For fixed m, A and B the whole expression is one matrix, however it was made: DoRA's "
    "norm is a nonlinearity in the weights and none in x, so DoRA merges.",
)
