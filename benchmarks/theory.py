"""What arithmetic says that a step must cost, to draw beside what was measured.

Counted for one Llama layer of width d and inner width f, with LoRA of rank r on all seven linear
layers, in the way of Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1.
"""

import torch

from benchmarks.models import Size
from benchmarks.timing import Spread, interleaved


def linear_shapes(size: Size) -> list[tuple[int, int]]:
    """(out, in) of the seven linear layers of one block."""
    d, f = size.width, size.config().intermediate_size
    return [(d, d)] * 4 + [(f, d)] * 2 + [(d, f)]


def adapter_numbers(size: Size, r: int) -> int:
    """Trained by LoRA: r (in + out) for each linear layer."""
    return size.layers * r * sum(map(sum, linear_shapes(size)))


def base_numbers(size: Size) -> int:
    """Weights that multiply: the linear layers and the head."""
    block = sum(rows * columns for rows, columns in linear_shapes(size))
    return size.layers * block + size.vocabulary * size.width


def forward_flops(size: Size, r: int) -> int:
    """2 for each weight and token, and 2 length d for causal attention in each layer."""
    numbers = base_numbers(size) + adapter_numbers(size, r)
    attention = size.layers * 2 * size.length * size.width
    return size.batch * size.length * (2 * numbers + attention)


def step_flops(size: Size, r: int) -> int:
    """A frozen weight multiplies twice, for h and for dx, a trained one also for its gradient.

    Attention's backward pass is twice its forward pass. The first q, k and v need no dx: nothing
    below them is trained.
    """
    numbers = 4 * base_numbers(size) + 6 * adapter_numbers(size, r)
    numbers -= 2 * 3 * size.width * (size.width + r)
    attention = 3 * size.layers * 2 * size.length * size.width
    return size.batch * size.length * (numbers + attention)


def saved_numbers(size: Size, r: int) -> int:
    """What waits for the backward pass at the peak, which is at the loss.

    For each token and layer: the inputs of both norms, what they make of them, q, k, v and what
    attention makes of them (8 d); gate, silu(gate), up and their product (4 f); A x of seven layers
    (7 r); a row of the mask, which attention on a processor keeps (length). Then the input of the
    last norm (d), logits, their log-softmax and its gradient (3 vocabulary).
    """
    d, f = size.width, size.config().intermediate_size
    each = size.layers * (8 * d + 4 * f + 7 * r + size.length) + d + 3 * size.vocabulary
    return size.batch * size.length * each


def product_rate(device: str, dtype: torch.dtype, side: int = 1024) -> float:
    """Multiplications and additions in a second of a large matrix product here, measured."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = interleaved({"product": lambda: a @ b}, device, seconds=2, rounds=(5, 50))
    return 2 * side**3 / Spread.of(times["product"]).median
