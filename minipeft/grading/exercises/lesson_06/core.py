"""Tasks 1 and 2: DoRA's output, its gradients, and how far it moved. DoRA, arXiv 2402.09353.

Section 4.1 (the equation), 4.3 (the norm is a constant in the backward pass), 3.2 (dM and dD).
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import by_tensor, moved_seen

SIZES = [(6, 6, 2), (8, 5, 3), (4, 9, 2)]  # (d_in, d_out, r); a square one lets wrong axes run


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers, in float32 as torch has them."""
    return generator.normal(size=shape).astype(np.float32)


def row_norms(V: np.ndarray) -> np.ndarray:
    """The length of each row, (out,)."""
    return np.linalg.norm(V, axis=1)


def direction(weight, A, B, alpha) -> np.ndarray:
    """V = W0 + s B A (out, in)."""
    return weight + alpha / A.shape[0] * (B @ A)


def trained(generator: np.random.Generator, d_in: int, d_out: int, r: int) -> list[object]:
    """[A, B, magnitude, alpha] of one trained layer; its scale is neither 1 nor 2."""
    alpha = r * float(generator.choice([0.5, 3, 4]))
    magnitude = generator.uniform(0.5, 3, d_out).astype(np.float32)
    return [normal(generator, r, d_in), normal(generator, d_out, r), magnitude, alpha]


def forward_cases(generator: np.random.Generator) -> Cases:
    """A square layer, a wide one and a tall one."""
    return [
        [normal(generator, 3, d_in), normal(generator, d_out, d_in), normal(generator, d_out)]
        + trained(generator, d_in, d_out, r)
        for d_in, d_out, r in SIZES
    ]


def forward(
    x, weight, bias, A, B, magnitude, alpha, norms: Callable = lambda V, weight: row_norms(V)
):
    """h = x W^T + b with W = m V / ||V||, row by row; some mistakes differ in the norm."""
    V = direction(weight, A, B, alpha)
    return (x @ V.T) * (magnitude / norms(V, weight)) + bias


def by_columns(x, weight, bias, A, B, magnitude, alpha):
    """Columns scaled in place of rows, which a square layer alone allows."""
    V = direction(weight, A, B, alpha)
    return x @ (magnitude * V / np.linalg.norm(V, axis=0)).T + bias


def bias_scaled(x, weight, bias, A, B, magnitude, alpha):
    """The bias multiplied as well."""
    V = direction(weight, A, B, alpha)
    return (x @ V.T + bias) * (magnitude / row_norms(V))


FORWARD = Task(
    name="dora_forward",
    title="1a. The forward pass",
    points=2,
    cases=forward_cases,
    answer=forward,
    parts=by_case("a square layer", "a wide layer", "a tall layer"),
    misconceptions=[
        Misconception(
            by_columns,
            "You scale columns. Here a weight is (out, in), and DoRA has one magnitude for each "
            "output: the norm runs along a row.",
        ),
        Misconception(
            bias_scaled,
            "You scale the bias, too. m / ||V|| belongs to the weight; the bias is added as it is.",
        ),
        Misconception(
            lambda x, weight, bias, *rest: forward(x, weight, 0 * bias, *rest),
            "The bias is missing: the layer that you adapt adds it, so the adapted one must.",
        ),
        Misconception(
            partial(forward, norms=lambda V, weight: row_norms(weight)),
            "You divide by the norms of W0. The direction is V / ||V|| with V = W0 + s B A, so "
            "the norms are those of V, and they change as A and B learn.",
        ),
        Misconception(
            partial(forward, norms=lambda V, weight: 1.0),
            "The norm is missing: m scales a direction of length 1, V / ||V||, not V itself.",
        ),
        Misconception(
            partial(forward, norms=lambda V, weight: np.linalg.norm(V)),
            "You divide by one norm of the whole matrix. Each row has a norm of its own.",
        ),
        Misconception(
            lambda x, weight, bias, A, B, magnitude, alpha: forward(
                x, weight, bias, A, B, magnitude, A.shape[0]
            ),
            "The scale alpha / r is missing inside V = W0 + s B A.",
        ),
        Misconception(
            lambda x, weight, bias, A, B, magnitude, alpha: (
                x @ weight.T + bias + (x @ A.T @ B.T) * (magnitude / row_norms(B @ A))
            ),
            "You scale the update alone. DoRA's magnitude acts on the whole sum W0 + s B A.",
        ),
    ],
    why="Each output is x times one row, and a row is a length times a direction. LoRA turns the "
    "row, m sets its length, and whatever length V had is divided away.",
)


def gradient_cases(generator: np.random.Generator) -> Cases:
    """The same layers, without a bias, and the gradient of a loss by the output."""
    return [
        [
            normal(generator, 3, d_in),
            normal(generator, d_out, d_in),
            *trained(generator, d_in, d_out, r),
            normal(generator, 3, d_out),
        ]
        for d_in, d_out, r in SIZES
    ]


def gradients(x, weight, A, B, magnitude, alpha, upstream, detached=True, scaled=True):
    """The gradients by A, B and m of a loss whose gradient by h is `upstream`."""
    V, s = direction(weight, A, B, alpha), alpha / A.shape[0]
    norm = row_norms(V)[:, None]  # (out, 1)
    G = upstream.T @ x  # of W (out, in)
    unit, g = V / norm, magnitude[:, None] / norm
    of_V = g * G
    if not detached:
        of_V = g * (G - (G * unit).sum(axis=1, keepdims=True) * unit)
    times = s if scaled else 1.0
    return {
        "A": times * B.T @ of_V,
        "B": times * of_V @ A.T,
        "magnitude": (G * unit).sum(axis=1),
    }


def as_lora(x, weight, A, B, magnitude, alpha, upstream):
    """LoRA's gradients for A and B: the factor m / ||V|| is forgotten on the way back."""
    norms = row_norms(direction(weight, A, B, alpha))
    as_if = gradients(x, weight, A, B, norms, alpha, upstream)
    return as_if | {
        "magnitude": gradients(x, weight, A, B, magnitude, alpha, upstream)["magnitude"]
    }


def of_magnitude_without_norm(x, weight, A, B, magnitude, alpha, upstream):
    """The gradient of m as if m multiplied V itself."""
    right = gradients(x, weight, A, B, magnitude, alpha, upstream)
    return right | {"magnitude": right["magnitude"] * row_norms(direction(weight, A, B, alpha))}


GRADIENTS = Task(
    name="dora_gradients",
    title="1b. The gradients",
    points=2,
    cases=gradient_cases,
    answer=gradients,
    parts=by_tensor,
    misconceptions=[
        Misconception(
            partial(gradients, detached=False),
            "These are the gradients with the norm taken along. Asked for is the norm as a "
            "constant, as in section 4.3 of the paper: `.detach()` it.",
        ),
        Misconception(
            partial(gradients, scaled=False),
            "The scale alpha / r is missing: B A enters V with it, so the gradients have it, too.",
        ),
        Misconception(
            as_lora,
            "These are LoRA's gradients for A and B. DoRA multiplies each row of V by m / ||V||, "
            "and so its gradient.",
        ),
        Misconception(
            of_magnitude_without_norm,
            "The gradient of m is that of m V. m multiplies V / ||V||, a row of length 1.",
        ),
        Misconception(
            lambda *given: {name: -value for name, value in gradients(*given).items()},
            "These are the gradients with the other sign: a step of gradient descent, not a "
            "gradient.",
        ),
    ],
    why="Forward the norm is a number like any other, and backward it is a constant. So a row of V "
    "gets LoRA's gradient times m / ||V||, the part along V included.",
)


def moved_cases(generator: np.random.Generator) -> Cases:
    """Two weights of three shapes: one turned a little, one a lot, one flipped in part."""
    found = []
    for (d_in, d_out, _), size in zip(SIZES, (0.3, 1.0, 3.0), strict=True):
        W0 = normal(generator, d_out, d_in)
        found.append([W0, W0 + np.float32(size) * normal(generator, d_out, d_in)])
    return found


def moved(W0, W, axis=1, change: Callable = np.abs):
    """(dM, dD): the mean change of length, and the mean of 1 - cos."""
    lengths = [np.linalg.norm(weight, axis=axis) for weight in (W0, W)]
    cosine = (W0 * W).sum(axis=axis) / (lengths[0] * lengths[1])
    return float(change(lengths[1] - lengths[0]).mean()), float((1 - cosine).mean())


def whole_matrix(W0, W):
    """One length and one angle for the whole matrix."""
    return moved(W0.reshape(1, -1), W.reshape(1, -1))


def rows_of_the_update(W0, W):
    """The length of what was added in place of the change of length."""
    return float(row_norms(W - W0).mean()), moved(W0, W)[1]


def cosine_itself(W0, W):
    """The mean cosine: 1 where nothing turned."""
    return moved(W0, W)[0], 1 - moved(W0, W)[1]


def unit_distance(W0, W):
    """The distance of the unit rows in place of 1 - cos."""
    units = [weight / row_norms(weight)[:, None] for weight in (W0, W)]
    return moved(W0, W)[0], float(row_norms(units[1] - units[0]).mean())


MOVED = Task(
    name="moved",
    title="2. How far it moved",
    points=2,
    cases=moved_cases,
    answer=moved,
    observe=moved_seen,
    parts=by_tensor,
    misconceptions=[
        Misconception(
            partial(moved, axis=0),
            "You measure columns. A weight here is (out, in): a magnitude belongs to a row.",
        ),
        Misconception(
            whole_matrix,
            "You measure the matrix as one long row. dM and dD are means over its rows.",
        ),
        Misconception(
            partial(moved, change=lambda change: change),
            "Rows that grew and rows that shrank cancel in your dM: take the absolute value of "
            "each row's change before the mean.",
        ),
        Misconception(
            rows_of_the_update,
            "Your dM is the length of W - W0. A row that only turns has a long W - W0, and its "
            "magnitude has not moved.",
        ),
        Misconception(
            cosine_itself,
            "Your dD is the mean cosine, 1 for rows that did not turn. Asked for is 1 - cos.",
        ),
        Misconception(
            unit_distance,
            "Your dD is the distance between unit rows. The paper's is 1 - cos, half of its square.",
        ),
        Misconception(
            lambda W0, W: moved(W0, W)[::-1],
            "You return (dD, dM). Asked for is the pair (dM, dD).",
        ),
    ],
    why="dM forgets where a row points and dD forgets how long it is: two numbers that no single "
    "norm of W - W0 can tell apart.",
)
