"""Task 1: through a frozen weight of four bits, and back. QLoRA, arXiv 2305.14314, section 3."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Pieces, Task
from .nf4 import LEVELS, dequantize

SIZES = [
    (16, 16, 2),
    (24, 8, 3),
    (8, 16, 2),
]  # (d_in, d_out, r); a square one lets wrong orders run
Grads = tuple[np.ndarray, np.ndarray, np.ndarray]


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers, in float32 as torch has them."""
    return generator.normal(size=shape).astype(np.float32)


def stored_layer(generator: np.random.Generator, d_in: int, d_out: int, r: int) -> list[object]:
    """[codes, absmax, A, B, alpha] of one trained layer."""
    codes = generator.integers(0, 16, (d_out, d_in))
    absmax = generator.uniform(0.5, 2, (d_out, d_in // 8)).astype(np.float32)
    alpha = int(generator.choice([4, 8, 16])) * r / 2
    return [codes, absmax, normal(generator, r, d_in), normal(generator, d_out, r), alpha]


def right_scale(alpha, A):
    """alpha / r."""
    return alpha / A.shape[0]


def forward(x, codes, absmax, A, B, alpha, scale=right_scale, weight=dequantize):
    """h = x W^T + s x A^T B^T for rows x."""
    return x @ weight(codes, absmax).T + scale(alpha, A) * (x @ A.T @ B.T)


def backward(g, x, codes, absmax, A, B, alpha, scale=right_scale, base=1.0, adapter=1.0) -> Grads:
    """(dL/dx, dL/dA, dL/dB) for g = dL/dh; the mistakes leave a way out."""
    s = scale(alpha, A)
    dx = base * (g @ dequantize(codes, absmax)) + adapter * s * (g @ B @ A)
    return dx, s * (g @ B).T @ x, s * g.T @ (x @ A.T)


def transposed(g, x, codes, absmax, A, B, alpha) -> Grads:
    """The forward pass's W^T where W belongs."""
    _, dA, dB = backward(g, x, codes, absmax, A, B, alpha)
    return g @ dequantize(codes, absmax).T + right_scale(alpha, A) * (g @ B @ A), dA, dB


def averaged(g, *rest) -> Grads:
    """Divides by the batch, which g has done already if the loss is a mean."""
    return tuple(part / len(g) for part in backward(g, *rest))


def case(generator: np.random.Generator, d_in: int, d_out: int, r: int) -> list[object]:
    """[x, codes, absmax, A, B, alpha]."""
    return [normal(generator, 3, d_in), *stored_layer(generator, d_in, d_out, r)]


FORWARD = Task(
    name="qlora_forward",
    title="1a. The forward pass",
    points=2,
    cases=lambda generator: [case(generator, *size) for size in SIZES],
    answer=forward,
    misconceptions=[
        Misconception(
            partial(forward, weight=lambda codes, absmax: codes),
            "You multiplied with the codes. A code is the number of a level: dequantize first.",
        ),
        Misconception(
            partial(forward, weight=lambda codes, absmax: LEVELS[codes]),
            "The constants are missing: each block of levels is multiplied by its absmax.",
        ),
        Misconception(
            partial(forward, scale=lambda alpha, A: 1.0),
            "The scale is missing: the adapter's part is multiplied by alpha / r.",
        ),
        Misconception(
            partial(forward, scale=lambda alpha, A: alpha),
            "You scale by alpha alone. Divide by the rank r, the number of rows of A.",
        ),
        Misconception(
            lambda x, codes, absmax, A, B, alpha: right_scale(alpha, A) * (x @ A.T @ B.T),
            "The base is missing. It is frozen, and it still computes: W x is a part of h.",
        ),
        Misconception(
            lambda x, codes, absmax, A, B, alpha: (
                right_scale(alpha, A) * (x @ dequantize(codes, absmax).T + x @ A.T @ B.T)
            ),
            "alpha / r multiplies the whole sum. It belongs to the adapter's part alone.",
        ),
    ],
    why="Storage has four bits, the product has none of that: a dense W is made, used and dropped. "
    "The adapter is an ordinary LoRA beside it.",
)


def backward_cases(generator: np.random.Generator) -> Cases:
    """For each of the sizes g, then the arguments of the forward pass."""
    return [
        [normal(generator, 3, d_out), *case(generator, d_in, d_out, r)] for d_in, d_out, r in SIZES
    ]


def gradient_parts(got: list, want: list) -> Pieces:
    """The three gradients, each in all cases."""

    def of(values: list, number: int) -> list:
        return [v[number] if isinstance(v, list | tuple) and len(v) == 3 else v for v in values]

    names = ("dL/dx", "dL/dA", "dL/dB")
    return {name: (of(got, n), of(want, n)) for n, name in enumerate(names)}


BACKWARD = Task(
    name="qlora_backward",
    title="1b. The backward pass",
    points=3,
    cases=backward_cases,
    answer=backward,
    parts=gradient_parts,
    weights={"dL/dx": 2.0},
    misconceptions=[
        Misconception(
            partial(backward, base=0.0),
            "Your gradient stops at the frozen weight. W gets no gradient, but x does, and most of "
            "it comes through W: otherwise no layer below would learn from the base.",
        ),
        Misconception(
            partial(backward, adapter=0.0),
            "dL/dx lacks the way through the adapter: x goes into A as well.",
        ),
        Misconception(
            partial(backward, scale=lambda alpha, A: 1.0),
            "The scale alpha / r is missing: it multiplies all that passes through the adapter.",
        ),
        Misconception(
            transposed,
            "You went back through W^T. For rows the forward pass is x W^T, so the way back is g "
            "W; on a square layer nothing complains.",
        ),
        Misconception(
            averaged,
            "You divided by the batch. Where the loss is a mean, g holds that factor already.",
        ),
        Misconception(
            lambda *given: (backward(*given)[0], *backward(*given)[:0:-1]),
            "The gradients of A and B are swapped. Asked for are (dL/dx, dL/dA, dL/dB).",
        ),
        Misconception(
            lambda *given: (*backward(*given)[1:], backward(*given)[0]),
            "dL/dx stands at the end. Asked for are (dL/dx, dL/dA, dL/dB).",
        ),
    ],
    why="g goes back both ways it came. W is needed once more for it, so codes and constants must "
    "stay in memory until then; the dense W need not: it is made again.",
)
