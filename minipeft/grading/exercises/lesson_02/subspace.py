"""Task 4: training in a random subspace, theta = theta0 + P z with a fixed P.

C. Li and others 2018, arXiv 1804.08838, section 2; A. Aghajanyan and others 2020,
arXiv 2012.13255. The loss is the mean of (X theta - y)^2.
"""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case

NAMES = ("one direction", "three directions", "more directions than conditions")
SHAPES = [(6, 20, 1), (5, 30, 3), (4, 24, 7)]  # conditions, weights, directions


def problem(generator: np.random.Generator, n: int, D: int, d: int) -> list[np.ndarray]:
    """[X, y, theta0, P]: linear conditions, a start, and random directions."""
    X, P = generator.normal(size=(n, D)), generator.normal(size=(D, d)) / np.sqrt(D)
    y, theta0 = 3 * generator.normal(size=n), generator.normal(size=D)
    return [part.astype("f4") for part in (X, y, theta0, P)]


def gradient_cases(generator: np.random.Generator) -> Cases:
    """A point z away from the start, in each of three subspaces."""
    return [
        [*problem(generator, *shape), generator.normal(size=shape[-1]).astype("f4")]
        for shape in SHAPES
    ]


def gradient(X, y, theta0, P, z, start=1, moved=1, factor=2, mean=True):
    """P^T times the gradient in theta; the mistakes leave something out."""
    residual = X @ (start * theta0 + moved * (P @ z)) - y
    return factor * P.T @ (X.T @ residual) / (len(y) if mean else 1)


def in_theta(X, y, theta0, P, z):
    """The gradient of all weights, not yet brought into the subspace."""
    return 2 * X.T @ (X @ (theta0 + P @ z) - y) / len(y)


GRADIENT = Task(
    name="subspace_gradient",
    title="4a. The gradient of a few numbers",
    points=2,
    cases=gradient_cases,
    answer=gradient,
    tolerance=1e-3,
    parts=by_case(*NAMES),
    misconceptions=[
        Misconception(
            in_theta,
            "This is the gradient in theta, one number for each weight. Of z it is P transposed "
            "times that, by the chain rule.",
        ),
        Misconception(
            partial(gradient, moved=0),
            "You took the gradient at theta0. The point is theta0 + P z.",
        ),
        Misconception(
            partial(gradient, start=0),
            "You took the gradient at P z. theta0 is missing: the subspace goes through theta0, "
            "not through zero.",
        ),
        Misconception(
            partial(gradient, mean=False),
            "Your gradient is that of the sum of the squares. The loss is their mean.",
        ),
        Misconception(
            partial(gradient, factor=1),
            "The 2 from the square is missing.",
        ),
        Misconception(
            lambda *given: np.linalg.pinv(given[3]) @ in_theta(*given),
            "You used the pseudoinverse of P. The chain rule asks for P transposed; the two agree "
            "only if the columns of P are orthonormal.",
        ),
        Misconception(
            lambda *given: -gradient(*given),
            "The sign is turned: this is the step that descends. Asked for is the gradient.",
        ),
    ],
    why="theta = theta0 + P z is linear in z, so the chain rule puts P transposed before the "
    "gradient in theta. In a network the gradients of all weights are worked out first: training "
    "few numbers in this way makes no backward pass cheaper.",
)


def train_cases(generator: np.random.Generator) -> Cases:
    """A rate at which the loss falls, and so few steps that each one counts."""
    found = []
    for shape in SHAPES:
        X, y, theta0, P = problem(generator, *shape)
        curvature = 2 / len(y) * np.linalg.norm(X @ P, 2) ** 2
        found.append([X, y, theta0, P, float(0.4 / curvature), int(generator.integers(4, 8))])
    return found


def train(X, y, theta0, P, rate, steps, more=0, sign=-1, told=lambda theta0, P, z: theta0 + P @ z):
    """Gradient descent on z from zero; the weights where it ends."""
    z = np.zeros(P.shape[1])
    for _ in range(steps + more):
        z = z + sign * rate * gradient(X, y, theta0, P, z)
    return told(theta0, P, z)


def full_training(X, y, theta0, P, rate, steps):
    """All weights move as they like."""
    theta = theta0
    for _ in range(steps):
        theta = theta - rate * 2 / len(y) * X.T @ (X @ theta - y)
    return theta


def one_gradient(X, y, theta0, P, rate, steps):
    """The gradient at the start, taken again and again."""
    return theta0 - steps * rate * P @ gradient(X, y, theta0, P, np.zeros(P.shape[1]))


TRAIN = Task(
    name="train_in_subspace",
    title="4b. Train in the subspace",
    points=2,
    cases=train_cases,
    answer=train,
    tolerance=1e-3,
    parts=by_case(*NAMES),
    misconceptions=[
        Misconception(
            full_training,
            "You trained all weights. Only z moves: theta never leaves theta0 + P z.",
        ),
        Misconception(
            partial(train, told=lambda theta0, P, z: z),
            "You returned z. Asked for are the weights that it stands for.",
        ),
        Misconception(
            partial(train, told=lambda theta0, P, z: P @ z),
            "You returned the change P z. The weights are theta0 plus that.",
        ),
        Misconception(
            partial(train, sign=1),
            "You went up: a step subtracts the gradient.",
        ),
        Misconception(
            one_gradient,
            "You took the gradient of the start at every step. Work it out anew where z is now.",
        ),
        Misconception(
            partial(train, more=-1),
            "One step is missing.",
        ),
        Misconception(
            lambda X, y, theta0, *rest: theta0,
            "Nothing has moved. From z = 0 the first gradient is that of theta0, not zero.",
        ),
    ],
    why="theta moves along the columns of P only. It reaches a solution where the subspace meets "
    "one: Li and others call the smallest such dimension the intrinsic dimension.",
)
