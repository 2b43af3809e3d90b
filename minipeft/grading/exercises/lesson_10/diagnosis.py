"""Task 5, the bug zoo: quantizers that run without a complaint, told by their numbers."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, every_twice, one_name_for_all
from .levels import NF4, normal_levels
from .packing import mirrored, pack, restore

HEALTHY = "healthy"
SWAPPED = "halves of the bytes swapped"
ONE_ABSMAX = "one absmax for all blocks"
NO_SCALE = "scale not applied"
MIRRORED = "levels taken as symmetric"
NO_MEAN = "mean not added back"
SPECIMENS = [HEALTHY, SWAPPED, ONE_ABSMAX, NO_SCALE, MIRRORED, NO_MEAN]


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one quantized weight with one bug (or none)."""
    block, blocks = int(generator.choice([16, 32])), int(generator.integers(20, 30))
    weight = generator.normal(size=(blocks, block)) * generator.uniform(0.01, 0.02, (blocks, 1))
    weight = weight.astype(np.float32)
    absmax = np.abs(weight).max(axis=1)
    if bug == ONE_ABSMAX:
        absmax[:] = absmax.max()
    levels = normal_levels(*NF4).astype(np.float32)
    codes = np.abs((weight / absmax[:, None])[..., None] - levels).argmin(axis=-1).ravel()
    kept = eight_bits(absmax, with_mean=bug != NO_MEAN)
    packed = pack(codes).astype(np.uint8)
    if bug == NO_SCALE:
        restored = levels[codes]
    else:
        table = mirrored(levels) if bug == MIRRORED else levels
        restored = restore(packed, kept, table, block, weight.size)
    if bug == SWAPPED:
        restored = restored.reshape(-1, 2)[:, ::-1].ravel()
    return {
        "weight": weight.ravel(),
        "block": block,
        "levels": levels,
        "packed": packed,
        "absmax": absmax,
        "kept": kept,
        "restored": np.ascontiguousarray(restored, dtype=np.float32),
    }


def eight_bits(absmax: np.ndarray, with_mean: bool = True) -> np.ndarray:
    """The constants after double quantization and back: less their mean, in 8 bits."""
    mean = absmax.mean()
    away = absmax - mean
    step = max(float(np.abs(away).max()), 1e-12) / 127
    return (np.rint(away / step) * step + (mean if with_mean else 0)).astype(np.float32)


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def diagnose(record: dict, blind_to: str | None = None) -> str:
    """What is wrong with the quantizer; a wrong answer is one that is blind to some bug."""
    block, n = record["block"], len(record["weight"])

    def close(one: np.ndarray, other: np.ndarray) -> bool:
        return float(np.abs(one - other).max()) < 0.01 * float(np.abs(other).max())

    right = restore(record["packed"], record["kept"], record["levels"], block, n)
    ones = np.ones_like(record["kept"])
    bare = restore(record["packed"], ones, record["levels"], block, n)
    signs = {
        ONE_ABSMAX: np.ptp(record["absmax"]) == 0,
        NO_MEAN: not close(record["kept"], record["absmax"]),
        NO_SCALE: close(record["restored"], bare),
        SWAPPED: close(record["restored"], right.reshape(-1, 2)[:, ::-1].ravel()),
        MIRRORED: not close(record["restored"], right),
    }
    signs[MIRRORED] = signs[MIRRORED] and not (signs[NO_SCALE] or signs[SWAPPED])
    return next((bug for bug, sign in signs.items() if sign and bug != blind_to), HEALTHY)


MISSED = {
    SWAPPED: "You miss the swapped halves: `restored` has the right numbers, each pair of "
    "neighbours turned round.",
    ONE_ABSMAX: "You miss the one absmax for all blocks: everything fits together there but the "
    "constants, which are all equal.",
    NO_SCALE: "You miss the scale that was not applied: `restored` reaches to 1, and the weight "
    "is far smaller.",
    MIRRORED: "You miss the symmetric levels: `restored` is right above zero, and below it is off "
    "by up to a tenth of the block's absmax.",
    NO_MEAN: "You miss the mean that was not added back: compare `kept` with `absmax`.",
}

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
            partial(always, HEALTHY),
            "You call every specimen healthy. None of them raises an error: the numbers tell.",
        ),
        *(Misconception(partial(diagnose, blind_to=bug), told) for bug, told in MISSED.items()),
    ],
    why="None of these bugs raises an error, since every byte is a valid pair of codes. What finds "
    "them is to do the way back by hand, one step at a time, and to compare.",
)
