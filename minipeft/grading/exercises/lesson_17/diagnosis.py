"""Task 4, the bug zoo: trainings on several processes that ran without a complaint.

Each specimen is the record of one step: what each process read, found, and did.
"""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, every_twice, misnamed, one_name_for_all
from .averaging import normal
from .sharding import shard_rows

HEALTHY = "healthy"
SUMMED = "summed, not averaged"
SAME_TEXTS = "same texts in every process"
NOT_SHARED = "gradients not shared"
OWN_START = "each process has a start of its own"
SHARD_SAVED = "one shard saved"
SAVED_EARLY = "saved before the step"
SPECIMENS = [HEALTHY, SUMMED, SAME_TEXTS, NOT_SHARED, OWN_START, SHARD_SAVED, SAVED_EARLY]
RATE = 0.5


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one step with one bug (or none)."""
    processes, length = int(generator.integers(2, 5)), int(generator.integers(10, 15))
    texts = generator.permutation(100)[: 3 * processes].reshape(processes, 3)
    gradients = [normal(generator, length) for _ in range(processes)]
    start = [normal(generator, length)] * processes
    if bug == SAME_TEXTS:
        texts = texts[[0] * processes]  # dropout is on: their gradients differ all the same
    if bug == OWN_START:
        start = [normal(generator, length) for _ in range(processes)]
    mean = np.mean(gradients, axis=0, dtype=np.float32)
    applied = [mean] * processes
    if bug == SUMMED:
        applied = [processes * mean] * processes
    if bug == NOT_SHARED:
        applied = gradients
    after = [a - RATE * g for a, g in zip(start, applied, strict=True)]
    saved = start[0] if bug == SAVED_EARLY else after[0]
    if bug == SHARD_SAVED:
        saved = saved[slice(*shard_rows(length, 0, processes))]
    return {
        "texts": [[int(n) for n in generator.permutation(row)] for row in texts],
        "gradients": np.float32(gradients),
        "start": np.float32(start),
        "after": np.float32(after),
        "rate": RATE,
        "saved": np.float32(saved),
    }


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding."""
    return a.shape == b.shape and np.allclose(a, b, atol=1e-3)


def diagnose(record: dict, blind_to: str | None = None) -> str:
    """What is wrong with the step; a wrong answer is one that is blind to some bug."""
    gradients, start, after = record["gradients"], record["start"], record["after"]
    applied = (start - after) / record["rate"]
    read = [number for texts in record["texts"] for number in texts]
    signs = {
        SAME_TEXTS: len(set(read)) < len(read),
        OWN_START: not near(start, np.broadcast_to(start[0], start.shape)),
        NOT_SHARED: near(applied, gradients),
        SUMMED: near(applied[0], gradients.sum(axis=0)),
        SHARD_SAVED: len(record["saved"]) < after.shape[1],
        SAVED_EARLY: near(record["saved"], start[0]),
    }
    return next((bug for bug, sign in signs.items() if sign and bug != blind_to), HEALTHY)


DIAGNOSE = Task(
    name="diagnose",
    title="4. The bug zoo",
    points=4,
    cases=cases,
    answer=diagnose,
    parts=by_answer,
    trivial=one_name_for_all(SPECIMENS),
    misconceptions=[
        Misconception(
            partial(always, HEALTHY),
            "You call every training healthy. None of them raised an error: compare the "
            "processes with each other.",
        ),
        Misconception(
            partial(misnamed, diagnose, {HEALTHY: SUMMED, SUMMED: HEALTHY}),
            "You take the sum of the gradients for the right step. Each is the gradient of a mean "
            "over as many texts: right is their mean.",
        ),
        Misconception(
            partial(misnamed, diagnose, {SAME_TEXTS: HEALTHY, OWN_START: HEALTHY}),
            "You look at process 0 alone. Whether all read different texts, and began with the "
            "same adapter, shows only beside the others.",
        ),
        Misconception(
            partial(misnamed, diagnose, {OWN_START: NOT_SHARED}),
            "You take adapters that began differently for gradients that were not shared. Look at "
            "the steps: start minus after, divided by the rate.",
        ),
        Misconception(
            partial(misnamed, diagnose, {SHARD_SAVED: SAVED_EARLY}),
            "You take a shard for an adapter that was saved too early. A shard is shorter than "
            "the adapter, and its numbers are those after the step.",
        ),
        Misconception(
            partial(diagnose, blind_to=SAME_TEXTS),
            "You miss the processes that read the same texts. The step looks right, and most of the "
            "batch was never read: compare the texts of all processes.",
        ),
        Misconception(
            partial(diagnose, blind_to=NOT_SHARED),
            "You miss the processes that each took a step of their own: start minus after is the "
            "rate times the process's own gradient.",
        ),
        Misconception(
            partial(diagnose, blind_to=SAVED_EARLY),
            "You miss the file that was saved before the step: it holds the start.",
        ),
        Misconception(
            partial(diagnose, blind_to=SHARD_SAVED),
            "You miss the file that holds one shard: count its numbers.",
        ),
    ],
    why="Healthy processes begin alike, read different texts, take one and the same step, the "
    "mean of their gradients, and one of them saves all of the adapter. Each bug breaks one.",
)
