"""Tasks 1 and 2: the forward pass, the start, the merge. LoRA, arXiv 2106.09685, section 4.1."""

import math
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Pieces, Task
from .asked import start_parts, start_seen

SIZES = [(6, 6, 2), (8, 5, 3), (4, 9, 2)]  # (d_in, d_out, r); a square one lets wrong orders run


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers, in float32 as torch has them."""
    return generator.normal(size=shape).astype(np.float32)


def lora_pieces(generator: np.random.Generator, d_in: int, d_out: int, r: int) -> list[object]:
    """[weight, A, B, alpha] of one trained layer."""
    alpha = int(generator.choice([4, 8, 16])) * r / 2
    return [
        normal(generator, d_out, d_in),
        normal(generator, r, d_in),
        normal(generator, d_out, r),
        alpha,
    ]


def forward(x, weight, A, B, alpha, scale=lambda alpha, A: alpha / A.shape[0]):
    """h = x W0^T + s x A^T B^T for rows x; the mistakes differ in s."""
    return x @ weight.T + scale(alpha, A) * (x @ A.T @ B.T)


def forward_cases(generator: np.random.Generator) -> Cases:
    """One batch for each of the sizes."""
    return [
        [normal(generator, 3, d_in), *lora_pieces(generator, d_in, d_out, r)]
        for d_in, d_out, r in SIZES
    ]


FORWARD = Task(
    name="lora_forward",
    title="1a. The forward pass",
    points=2,
    cases=forward_cases,
    answer=forward,
    misconceptions=[
        Misconception(
            partial(forward, scale=lambda alpha, A: 1.0),
            "The scale is missing: the update is multiplied by alpha / r, and yours is not.",
        ),
        Misconception(
            lambda x, weight, A, B, alpha: alpha / A.shape[0] * (x @ weight.T + x @ A.T @ B.T),
            "alpha / r multiplies the whole sum. It belongs to the update alone: W0 x stays as it "
            "is.",
        ),
        Misconception(
            partial(forward, scale=lambda alpha, A: alpha),
            "You scale by alpha alone. Divide by the rank r, or a larger r makes a larger update.",
        ),
        Misconception(
            partial(forward, scale=lambda alpha, A: alpha / A.shape[1]),
            "You divide alpha by the input's size. r is the other side of A: its number of rows.",
        ),
        Misconception(
            partial(forward, scale=lambda alpha, A: alpha / math.sqrt(A.shape[0])),
            "alpha / sqrt(r) is the scale of rsLoRA. LoRA itself divides by r.",
        ),
        Misconception(
            lambda x, weight, A, B, alpha: alpha / A.shape[0] * (x @ A.T @ B.T),
            "The frozen layer is missing: the update is added to W0 x, it does not replace it.",
        ),
        Misconception(
            lambda x, weight, A, B, alpha: x @ weight.T + alpha / A.shape[0] * (x @ B @ A),
            "A and B are swapped, or their product is turned over: x goes down to r numbers through A "
            "first, then up through B. For rows that is x @ A.T @ B.T.",
        ),
    ],
    why="x passes through r numbers only: two thin products cost r (d_in + d_out) multiplications "
    "for each row, while the full matrix B A, which you never built, would cost d_in d_out.",
)


def zeros(generator, shape):
    """The start of the matrix that must not disturb the base."""
    return np.zeros(shape)


def uniform(generator, shape):
    """Kaiming uniform with a = sqrt(5), whose bound is 1 / sqrt(fan-in)."""
    return generator.uniform(-1, 1, shape) / math.sqrt(shape[1])


def start(d_in, d_out, r, draw_A=uniform, draw_B=zeros, generator=np.random):
    """(A, B): A Kaiming uniform and B zero; the mistakes draw them otherwise."""
    return draw_A(generator, (r, d_in)), draw_B(generator, (d_out, r))


def start_with_a_seed(d_in, d_out, r):
    """The right start, and the same in every call."""
    return start(d_in, d_out, r, generator=np.random.default_rng(0))


def kaiming_normal(generator, shape):
    """torch.nn.init.kaiming_normal_ as it is: the gain of a ReLU, sqrt(2)."""
    return generator.normal(size=shape) * math.sqrt(2 / shape[1])


def staircase(generator, shape):
    """The right spread without chance."""
    return np.linspace(-1, 1, shape[0] * shape[1]).reshape(shape) / math.sqrt(shape[1])


START = Task(
    name="lora_start",
    title="1b. The start",
    points=2,
    cases=lambda generator: [[int(generator.integers(500, 700)), 24, 8], [512, 512, 16]],
    answer=start,
    observe=start_seen,
    calls=2,  # a seed that is fixed inside the function gives the same draw twice
    tolerance=0.08,  # thousands of draws: their spread is known to about 1%
    parts=start_parts,
    misconceptions=[
        Misconception(
            partial(start, draw_A=zeros),
            "Both are zero, so both gradients are zero for ever: each is a product with the other.",
        ),
        Misconception(
            partial(start, draw_B=uniform),
            "Both are random, so step 0 is not the base model: its answers are disturbed before "
            "anything was learned. One of the two must be zero.",
        ),
        Misconception(
            partial(start, draw_A=lambda g, shape: g.normal(size=shape)),
            "A is drawn from randn without a scale. The spread of nn.Linear is 1 / sqrt(3 d_in): "
            "at d_in = 4096 yours is 110 times too large.",
        ),
        Misconception(
            partial(start, draw_A=kaiming_normal),
            "kaiming_normal_ (or kaiming_uniform_ without a = sqrt(5)) keeps the gain of a ReLU: "
            "its spread is sqrt(2 / d_in), sqrt(6) times that of nn.Linear.",
        ),
        Misconception(
            partial(start, draw_A=lambda g, shape: g.uniform(-1, 1, shape) / math.sqrt(shape[0])),
            "The spread of A follows from r. It should follow from its inputs (fan-in), d_in.",
        ),
        Misconception(
            partial(start, draw_A=staircase),
            "A is not random: its numbers follow a pattern, so its rows are nearly the same and "
            "the r numbers say one thing. Draw each entry for itself.",
        ),
        Misconception(
            start_with_a_seed,
            "Two calls return the very same numbers: a seed is fixed inside your function, so all "
            "layers of one shape start alike, and no one can try another seed. Draw without one; "
            "who wants a seed sets it once, outside.",
        ),
        Misconception(
            lambda d_in, d_out, r: start(d_in, d_out, r)[::-1],
            "You return (B, A). Asked for is the pair (A, B).",
        ),
        Misconception(
            lambda d_in, d_out, r: tuple(part.T for part in start(d_in, d_out, r)),
            "Both shapes are transposed. A maps d_in to r, so as a weight it is (r, d_in); B is "
            "(d_out, r).",
        ),
    ],
    why="One zero makes the update zero: the first step starts exactly at the base. The other is "
    "random, so it gives the zero one a gradient, and once that has moved, both learn. LoRA and "
    "peft zero B.",
)


def merge(weight, A, B, alpha, scale=lambda alpha, A: alpha / A.shape[0]):
    """W0 + s B A; the mistakes differ in s."""
    return weight + scale(alpha, A) * (B @ A)


def merge_in_place(weight, A, B, alpha):
    """The right sum, written over the given weight."""
    weight += alpha / A.shape[0] * (B @ A)
    return weight


def merge_parts(got: list, want: list) -> Pieces:
    """The matrix of the first call, and that of the second, which tells if the weight changed."""

    def of_call(values: list, number: int) -> list:
        return [value[number] if isinstance(value, list) else value for value in values]

    names = ("the merged matrix", "the weight stays as it is")
    return {name: (of_call(got, n), of_call(want, n)) for n, name in enumerate(names)}


MERGE = Task(
    name="merge",
    title="2. Merge",
    points=2,
    cases=lambda generator: [lora_pieces(generator, *size) for size in SIZES],
    answer=merge,
    calls=2,
    parts=merge_parts,
    misconceptions=[
        Misconception(
            partial(merge, scale=lambda alpha, A: 1.0),
            "The scale was dropped at the merge: W0 + B A is another model than the one that you "
            "trained, unless alpha happens to equal r.",
        ),
        Misconception(
            merge_in_place,
            "Your function changes the weight that it is given, so a second call merges twice. "
            "Return a new matrix instead.",
        ),
        Misconception(
            lambda weight, A, B, alpha: alpha / A.shape[0] * (weight + B @ A),
            "alpha / r multiplies the whole sum. The frozen weight must come through unscaled.",
        ),
        Misconception(
            partial(merge, scale=lambda alpha, A: alpha),
            "You scale by alpha alone. The trained model scales by alpha / r, so must the merge.",
        ),
        Misconception(
            lambda weight, A, B, alpha: weight + alpha / A.shape[0] * (A.T @ B.T),
            "You added the transposed update. B A is (d_out, d_in) like W0; A^T B^T is turned "
            "over, and on a square layer nothing complains.",
        ),
        Misconception(
            lambda weight, A, B, alpha: alpha / A.shape[0] * (B @ A),
            "This is the update alone. The merged weight is W0 plus the update.",
        ),
    ],
    why="(W0 + s B A) x = W0 x + s B (A x): one matrix gives the same answers as layer and "
    "adapter, so a merged model costs nothing extra.",
)
