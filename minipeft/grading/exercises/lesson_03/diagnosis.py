"""Task 5, the bug zoo: broken LoRA layers that run without a complaint, told by their numbers.

Each specimen is a record of one small model: how its adapter started, which parameters were trained,
and what the author's merge made of an adapter that it was tried on. That adapter is never zero, not
even where the start is: so every sign can be looked for in any order, and no bug hides another.
"""

from functools import partial
from statistics import NormalDist

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import every_twice, misnamed, one_name_for_all
from .layer import normal

HEALTHY = "healthy"
BOTH_ZERO = "both start at zero"
TOO_LARGE = "A drawn without a scale"
NO_SCALE = "scale dropped at the merge"
TWICE = "merged twice"
NOT_FROZEN = "base not frozen"
SPECIMENS = [HEALTHY, BOTH_ZERO, TOO_LARGE, NO_SCALE, TWICE, NOT_FROZEN]
ADAPTER = ["q_proj.lora_A.weight", "q_proj.lora_B.weight"]


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one layer with one bug (or none)."""
    d_in, d_out, r = int(generator.integers(40, 60)), 12, 4
    scale = float(generator.choice([2, 4]))
    weight = on_grid(normal(generator, d_out, d_in), 12)
    A, B = tried_pair(generator, d_in, d_out, r)
    levels = evenly_drawn(generator, r, d_in)
    start_A = (2 * levels - 1) / d_in**0.5
    if bug == BOTH_ZERO:
        start_A = np.zeros_like(levels)
    if bug == TOO_LARGE:
        start_A = np.vectorize(NormalDist().inv_cdf)(levels)
    times = {NO_SCALE: 1.0, TWICE: 2 * scale}.get(bug, scale)
    base = ["embed_tokens.weight", "q_proj.base_layer.weight", "norm.weight"]
    return {
        "weight": weight,
        "alpha": scale * r,
        "start_A": start_A.astype(np.float32),
        "start_B": np.zeros((d_out, r), np.float32),
        "A": A,
        "B": B,
        "merged": (weight + times * (B @ A)).astype(np.float32),
        "trainable": [base[0], *ADAPTER, base[2]] if bug == NOT_FROZEN else list(ADAPTER),
    }


def on_grid(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Multiples of 2^-bits, so that sums and products stay exact in float32.

    Then `merged - weight` is exactly a multiple of B A, and a comparison without any tolerance is
    as right as one with some.
    """
    return np.round(numbers * 2**bits).astype(np.float32) / 2**bits


def evenly_drawn(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Numbers in (0, 1) in a random order, one in each of as many equal steps.

    Made from these, every start of one kind has the same spread and nearly the same largest number,
    so wherever a student draws the line between two kinds, it holds for every seed.
    """
    count = int(np.prod(shape))
    return ((generator.permutation(count) + 0.5) / count).reshape(shape)


def tried_pair(generator, d_in, d_out, r):
    """(A, B) whose product has no zero, so that it can be divided by."""
    while True:
        A, B = (on_grid(normal(generator, *shape), 6) for shape in ((r, d_in), (d_out, r)))
        if (B @ A).all():
            return A, B


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def diagnose(record: dict, blind_to: str | None = None, merges: bool = True) -> str:
    """What is wrong with the layer; a wrong answer is one that is blind to some bug."""
    r, d_in = record["A"].shape
    update = record["B"] @ record["A"]
    change = record["merged"] - record["weight"]
    times = float((change * update).sum() / (update * update).sum())
    scale = record["alpha"] / r
    signs = {
        BOTH_ZERO: not record["start_A"].any() and not record["start_B"].any(),
        TOO_LARGE: np.abs(record["start_A"]).max() > 1.5 / d_in**0.5,
        NO_SCALE: merges and abs(times - 1) < 0.1,
        TWICE: merges and abs(times - 2 * scale) < 0.1,
        NOT_FROZEN: any("lora_" not in name for name in record["trainable"]),
    }
    return next((bug for bug, sign in signs.items() if sign and bug != blind_to), HEALTHY)


def any_zero(record: dict) -> str:
    """Takes one zero matrix for the bug of two."""
    return diagnose(record) if record["start_B"].any() else BOTH_ZERO


def frozen_by_layer(record: dict) -> str:
    """Looks at the wrapped layer alone, where the base is always frozen."""
    return diagnose(record, blind_to=NOT_FROZEN)


DIAGNOSE = Task(
    name="diagnose",
    title="5. The bug zoo",
    points=3,
    cases=cases,
    answer=diagnose,
    parts=by_answer,
    trivial=one_name_for_all(SPECIMENS),
    misconceptions=[
        Misconception(
            lambda record: HEALTHY,
            "You call every specimen healthy. None of them raises an error: the numbers tell.",
        ),
        Misconception(
            frozen_by_layer,
            "You miss the base that is not frozen. Look at all the names in `trainable`: an "
            "embedding or a norm that trains is part of the base too.",
        ),
        Misconception(
            partial(misnamed, diagnose, {HEALTHY: TWICE, NO_SCALE: HEALTHY}),
            "You take W0 + B A for the right merge. Right is W0 + (alpha / r) B A, and twice that "
            "update is the double merge.",
        ),
        Misconception(
            any_zero,
            "You take a zero B for the bug. One of the two is zero at every healthy start; the bug "
            "is a start with both at zero.",
        ),
        Misconception(
            lambda record: diagnose(record, blind_to=BOTH_ZERO),
            "You miss the start with both at zero. Look at `start_A` and `start_B` together: the "
            "gradient of each is a product with the other.",
        ),
        Misconception(
            lambda record: diagnose(record, merges=False),
            "You never look at the merge. Compare `merged - weight` with B A: by what factor?",
        ),
        Misconception(
            lambda record: diagnose(record, blind_to=TOO_LARGE),
            "You miss the start that is too large. Kaiming keeps |A| within 1 / sqrt(d_in).",
        ),
    ],
    why="None of these bugs raises an error. What finds them are invariants: the start equals the "
    "base and can learn, only A and B train, and the merge adds (alpha / r) B A once.",
)
