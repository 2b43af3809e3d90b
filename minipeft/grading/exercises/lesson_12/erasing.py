"""Task 5: how much of an update is left when the merged weight is stored in few levels again."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case

LEVELS = 16
BLOCK = 16


def uneven_levels(generator: np.random.Generator) -> np.ndarray:
    """Sixteen levels from -1 to 1, with a zero, denser in the middle, as NF4's are."""
    steps = generator.uniform(0.8, 1.2, LEVELS - 1) * np.linspace(-1.6, 1.6, LEVELS - 1) ** 2 + 0.5
    places = np.concatenate([[0], np.cumsum(steps)])
    levels = 2 * places / places[-1] - 1
    levels[np.abs(levels[1:-1]).argmin() + 1] = 0
    return levels.astype(np.float32)


def stored_block(values: np.ndarray, levels: np.ndarray, absmax: float) -> np.ndarray:
    """Each value as the nearest level times absmax."""
    scaled = values / absmax
    return levels[np.abs(scaled[:, None] - levels).argmin(axis=1)] * absmax


def stored(values, levels, block_size, absmax: Callable = lambda block, whole: np.abs(block).max()):
    """Block by block, each scaled by its own largest value; the mistakes scale otherwise."""
    blocks = np.asarray(values, np.float64).reshape(-1, block_size)
    return np.concatenate([stored_block(b, levels, absmax(b, blocks)) for b in blocks])


def cases(generator: np.random.Generator) -> Cases:
    """A weight that lies on its levels, with a small, a middling and a large update."""
    found = []
    for size in (0.03, 0.3, 1.0):
        levels = uneven_levels(generator)
        drawn = generator.normal(size=5 * BLOCK) * np.repeat(generator.uniform(0.5, 2, 5), BLOCK)
        weight = stored(drawn, levels, BLOCK)
        update = generator.normal(size=len(weight)) * size * weight.std()
        found.append([weight.astype(np.float32), update.astype(np.float32), levels, BLOCK])
    return found


def change_of(weight, update, levels, block_size, **options) -> np.ndarray:
    """What of the update is in the stored weights."""
    total = np.asarray(weight, np.float64) + np.asarray(update, np.float64)
    return stored(total, levels, block_size, **options) - np.asarray(weight, np.float64)


def erased(weight, update, levels, block_size, **options) -> float:
    """1 - <change, update> / ||update||^2."""
    change = change_of(weight, update, levels, block_size, **options)
    update = np.asarray(update, np.float64)
    return float(1 - change @ update / (update @ update))


def by_norms(weight, update, levels, block_size):
    """1 - ||change|| / ||update||: noise counts as if it were the update."""
    change = change_of(weight, update, levels, block_size)
    return float(1 - np.linalg.norm(change) / np.linalg.norm(update))


def relative_error(weight, update, levels, block_size):
    """||change - update|| / ||update||."""
    change = change_of(weight, update, levels, block_size)
    return float(np.linalg.norm(change - update) / np.linalg.norm(update))


def kept(weight, update, levels, block_size):
    """The other share."""
    return 1 - erased(weight, update, levels, block_size)


def of_the_whole(weight, update, levels, block_size):
    """The stored weight itself in place of what changed in it."""
    landed = change_of(weight, update, levels, block_size) + weight
    return float(1 - landed @ update / (update @ update))


def update_alone(weight, update, levels, block_size):
    """The update is stored by itself, without the weight."""
    change = stored(update, levels, block_size)
    return float(1 - change @ update / (update @ update))


def old_scale(weight, update, levels, block_size):
    """Each block scaled by the largest weight from before the merge."""
    before = np.abs(np.asarray(weight, np.float64)).reshape(-1, block_size).max(axis=1)
    total = (np.asarray(weight, np.float64) + update).reshape(-1, block_size)
    pairs = zip(total, before, strict=True)
    again = np.concatenate([stored_block(block, levels, peak) for block, peak in pairs])
    change = again - weight
    return float(1 - change @ update / (update @ update))


ERASED = Task(
    name="erased_share",
    title="5a. What re-quantizing erases",
    points=3,
    cases=cases,
    answer=erased,
    tolerance=1e-3,
    parts=by_case("a small update", "a middling update", "a large update"),
    trivial=[lambda *given: 1.0, lambda *given: 0.0],
    misconceptions=[
        Misconception(
            by_norms,
            "You compared lengths. Rounding adds noise, which is long and points elsewhere: "
            "project what changed onto the update.",
        ),
        Misconception(
            relative_error,
            "This is the relative error. It counts noise that was added as if something of the "
            "update were gone.",
        ),
        Misconception(kept, "This is the share that is kept. Asked for is 1 minus that."),
        Misconception(
            of_the_whole,
            "You projected the stored weight itself. What landed of the update is the stored "
            "weight less the weight that was there before.",
        ),
        Misconception(
            update_alone,
            "You stored the update alone. In a merge the sum of weight and update is stored, with "
            "the sum's own largest value.",
        ),
        Misconception(
            old_scale,
            "You kept the scale of the old weights. A block is scaled by the largest absolute "
            "value of what is stored now, the sum.",
        ),
        Misconception(
            partial(erased, absmax=lambda block, whole: np.abs(whole).max()),
            "You scaled the whole tensor by one value. Each block has its own.",
        ),
    ],
    why="A weight that lies on a level falls back onto it unless its update is larger than half "
    "the gap: small updates are erased nearly whole, large ones survive in steps.",
)
