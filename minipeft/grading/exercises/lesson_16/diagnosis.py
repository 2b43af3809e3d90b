"""Task 4, the bug zoo: vision models that run without a complaint, told by their numbers."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, every_twice, misnamed, one_name_for_all
from .tokens import cut, embed, normal, strips

HEALTHY = "healthy"
STRIPS = "strips, not squares"
COLUMNS = "column by column"
NO_POSITIONS = "positions left out"
OTHER_SCALE = "pixels on another scale"
NO_HEAD = "head not in the file"
SPECIMENS = [HEALTHY, STRIPS, COLUMNS, NO_POSITIONS, OTHER_SCALE, NO_HEAD]
LORA = ["query.lora_A", "query.lora_B", "value.lora_A", "value.lora_B"]
HEAD = ["classifier.weight", "classifier.bias"]


def by_columns(image: np.ndarray, p: int) -> np.ndarray:
    """The right squares in the wrong order."""
    return cut(image, p, order=(0, 4, 2, 1, 3, 5))


def made(record: dict, bug: str) -> np.ndarray:
    """The tokens (1 + patches, d) that the code with this bug makes of a record's image."""
    image, p = record["image"][None, None], record["patch"]
    if bug == OTHER_SCALE:
        image = image * 255
    patches = {STRIPS: strips, COLUMNS: by_columns}.get(bug, cut)(image, p)
    positions = record["positions"] * (bug != NO_POSITIONS)
    return embed(patches, record["E"], record["b"], record["cls"], positions)[0]


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one model with one bug (or none)."""
    p, n, d = int(generator.integers(2, 4)), int(generator.integers(3, 5)), 6
    shapes = {"E": (d, p * p), "b": (d,), "cls": (d,), "positions": (n * n + 1, d)}
    record: dict[str, object] = {name: normal(generator, *s) for name, s in shapes.items()}
    record |= {"image": generator.uniform(0.2, 1, (n * p, n * p)).astype(np.float32), "patch": p}
    saved = LORA if bug == NO_HEAD else LORA + HEAD
    tokens = made(record, bug).astype(np.float32)
    return record | {"tokens": tokens, "trained": LORA + HEAD, "saved": list(saved)}


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def diagnose(record: dict, blind_to: str | None = None) -> str:
    """What is wrong; a wrong answer is one that is blind to some bug."""
    if blind_to != NO_HEAD and set(record["trained"]) - set(record["saved"]):
        return NO_HEAD
    found = {
        bug: np.allclose(record["tokens"], made(record, bug), rtol=1e-3, atol=1e-3)
        for bug in SPECIMENS
        if bug not in (blind_to, NO_HEAD)
    }
    return next((bug for bug, fits in found.items() if fits), HEALTHY)


DIAGNOSE = Task(
    name="diagnose",
    title="4. The bug zoo",
    points=4,
    cases=cases,
    answer=lambda record: diagnose(record),
    parts=by_answer,
    trivial=one_name_for_all(SPECIMENS),
    misconceptions=[
        Misconception(
            partial(always, HEALTHY),
            "You call every record healthy. None of them raised an error: the numbers tell.",
        ),
        Misconception(
            partial(misnamed, diagnose, {COLUMNS: STRIPS}),
            "You take patches in another order for strips. There the squares are right, and only "
            "their order is not.",
        ),
        Misconception(
            partial(misnamed, diagnose, {COLUMNS: HEALTHY, STRIPS: HEALTHY}),
            "You miss the two wrong ways to cut. Tokens of the right shape may be made of the "
            "wrong pixels, or stand at the wrong place.",
        ),
        Misconception(
            partial(diagnose, blind_to=NO_POSITIONS),
            "You miss the positions that were left out. There even the class token is wrong: it "
            "is `cls` alone.",
        ),
        Misconception(
            partial(diagnose, blind_to=OTHER_SCALE),
            "You miss pixels on another scale. The tokens of the patches are far larger there, "
            "and the class token is right.",
        ),
        Misconception(
            partial(diagnose, blind_to=NO_HEAD),
            "You miss the head that was trained and not saved. Its tokens are all right: compare "
            "the two lists of names.",
        ),
    ],
    why="Each of these models runs, and none of the bugs raises an error. What finds them is "
    "to make the tokens once more by hand, and to compare what was trained with what was saved.",
)
