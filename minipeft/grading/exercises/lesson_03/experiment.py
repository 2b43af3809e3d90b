"""Task 6: train one layer by hand, and see which of A and B moves first."""

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .layer import lora_pieces, normal

Pair = tuple[np.ndarray, np.ndarray]


def gradients(x, target, weight, A, B, scale, mean=True) -> Pair:
    """(dL/dA, dL/dB) for L = mean of (x W0^T + s x A^T B^T - target)^2, by the chain rule."""
    error = x @ weight.T + scale * (x @ A.T @ B.T) - target  # (batch, d_out)
    error = 2 * error / (error.size if mean else 1)
    return scale * B.T @ error.T @ x, scale * error.T @ (x @ A.T)


def train(x, target, weight, A, B, alpha, learning_rate, steps, scaled=True, mean=True) -> Pair:
    """(A, B) after plain gradient descent, both moved at once; the base stays."""
    scale = alpha / A.shape[0] if scaled else 1.0
    for _ in range(steps):
        grad_A, grad_B = gradients(x, target, weight, A, B, scale, mean)
        A, B = A - learning_rate * grad_A, B - learning_rate * grad_B
    return A, B


def train_with_base(x, target, weight, A, B, alpha, learning_rate, steps) -> Pair:
    """The bug of an optimizer that was given all parameters."""
    scale = alpha / A.shape[0]
    for _ in range(steps):
        error = x @ weight.T + scale * (x @ A.T @ B.T) - target
        grad_W = 2 * error.T @ x / error.size
        grad_A, grad_B = gradients(x, target, weight, A, B, scale)
        weight = weight - learning_rate * grad_W
        A, B = A - learning_rate * grad_A, B - learning_rate * grad_B
    return A, B


def train_accumulating(x, target, weight, A, B, alpha, learning_rate, steps) -> Pair:
    """The bug of a forgotten zero_grad."""
    scale, sum_A, sum_B = alpha / A.shape[0], 0.0, 0.0
    for _ in range(steps):
        grad_A, grad_B = gradients(x, target, weight, A, B, scale)
        sum_A, sum_B = sum_A + grad_A, sum_B + grad_B
        A, B = A - learning_rate * sum_A, B - learning_rate * sum_B
    return A, B


def train_in_place(x, target, weight, A, B, alpha, learning_rate, steps) -> Pair:
    """The right steps, written over the tensors that were given."""
    scale = alpha / A.shape[0]
    for _ in range(steps):
        grad_A, grad_B = gradients(x, target, weight, A, B, scale)
        A -= (learning_rate * grad_A).astype(A.dtype)
        B -= (learning_rate * grad_B).astype(B.dtype)
    return A, B


def train_in_turns(x, target, weight, A, B, alpha, learning_rate, steps) -> Pair:
    """B first, and then A with the gradient at the new B."""
    scale = alpha / A.shape[0]
    for _ in range(steps):
        B = B - learning_rate * gradients(x, target, weight, A, B, scale)[1]
        A = A - learning_rate * gradients(x, target, weight, A, B, scale)[0]
    return A, B


def cases(generator: np.random.Generator) -> Cases:
    """One step, then several, from LoRA's start and from a trained pair."""
    found = []
    for steps, d_in, d_out, r, fresh in [
        (1, 6, 4, 2, True),
        (3, 5, 5, 2, True),
        (4, 4, 6, 3, False),
    ]:
        weight, A, B, alpha = lora_pieces(generator, d_in, d_out, r)
        B = np.zeros_like(B) if fresh else B / 2
        x, target = normal(generator, 8, d_in), normal(generator, 8, d_out)
        found.append([x, target, weight, A / 2, B, alpha / 4, 0.05, steps])
    return found


EXPERIMENT = Task(
    name="train_lora",
    title="6a. Run the experiment",
    points=3,
    cases=cases,
    answer=train,
    calls=2,  # on the same tensors: the second call shows what the first has written over
    parts=by_case("the first step", "the steps after it", "steps of a trained pair"),
    trivial=[lambda x, target, weight, A, B, alpha, learning_rate, steps: (A, B)],
    misconceptions=[
        Misconception(
            train_in_place,
            "Your function changes the A and B that it is given, so a second call starts where "
            "the first one ended. Work on copies: `A = A - ...`, not `A -= ...`.",
        ),
        Misconception(
            lambda *given: train(*given)[::-1],
            "The pair is turned round: return A first, then B.",
        ),
        Misconception(
            train_with_base,
            "The base trains along: W0 changed as well. Freeze it, and give the optimizer A and B.",
        ),
        Misconception(
            train_accumulating,
            "The gradients of earlier steps are still there: `backward` adds to `.grad`. Set them "
            "to zero before each step.",
        ),
        Misconception(
            train_in_turns,
            "You moved B before you took A's gradient. Both gradients belong to the same point: "
            "take them, then move both.",
        ),
        Misconception(
            lambda *given: train(*given, scaled=False),
            "The scale alpha / r is missing from the forward pass, so every gradient is too small "
            "or too large by it.",
        ),
        Misconception(
            lambda *given: train(*given, mean=False),
            "You summed the squared errors. Asked for is their mean, over batch and outputs.",
        ),
    ],
    why="At B = 0 the gradient of A is s B^T (...) = 0 and that of B is not: in step 1 only B "
    "moves, in step 2 both do.",
)
