"""Task 5, the bug zoo: trainings that run without a complaint and do not do what was meant.

Each specimen is the record of one training of the head alone, on answers, with weights in bfloat16:
a text and its labels, what the optimizer did to some weights, and the embeddings at start and end.
"""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import every_twice, one_name_for_all

HEALTHY = "healthy"
NO_END = "end of text never trained"
SHIFTED = "labels shifted twice"
ROUNDED = "update rounded away"
TIED = "head tied to the embeddings"
SPECIMENS = [HEALTHY, NO_END, SHIFTED, ROUNDED, TIED]
IGNORED, END = -100, 1


def bfloat16(numbers: np.ndarray) -> np.ndarray:
    """The nearest numbers of 8 significant bits, ties to even, as float32."""
    bits = np.asarray(numbers, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one training with one bug (or none)."""
    prompt, answer, padding = (int(generator.integers(3, 7)) for _ in range(3))
    drawn = [int(n) for n in generator.permutation(np.arange(2, 900))]
    text = [*drawn[: prompt + answer], END]
    tokens = text + [END] * padding
    labels = [t if prompt <= at < len(text) else IGNORED for at, t in enumerate(tokens)]
    if bug == NO_END:
        labels = [IGNORED if label == END else label for label in labels]
    if bug == SHIFTED:
        labels = [*labels[1:], IGNORED]
    sign = generator.choice([-1, 1], (6, 4))
    before = bfloat16(generator.uniform(0.5, 0.9, (6, 4)) * sign)
    step = generator.uniform(0.5, 0.9, (6, 4)) * generator.choice([-1, 1], (6, 4))
    step = (step * (2e-4 if bug == ROUNDED else 2e-2)).astype(np.float32)
    embeddings = bfloat16(generator.normal(size=(5, 4)))
    moved = bfloat16(embeddings + 0.1 * generator.choice([-1, 1], (5, 4)))
    return {
        "tokens": tokens,
        "labels": labels,
        "end": END,
        "weight_before": before,
        "step": step,
        "weight_after": bfloat16(before + step),
        "embeddings_before": embeddings,
        "embeddings_after": moved if bug == TIED else embeddings.copy(),
    }


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def diagnose(record: dict, blind_to: str | None = None) -> str:
    """What is wrong with the training; a wrong answer is one that is blind to some bug."""
    tokens, labels = list(record["tokens"]), list(record["labels"])
    counted = [(at, label) for at, label in enumerate(labels) if label != IGNORED]
    signs = {
        NO_END: record["end"] not in labels,
        SHIFTED: any(tokens[at] != label for at, label in counted),
        ROUNDED: np.array_equal(record["weight_after"], record["weight_before"]),
        TIED: not np.array_equal(record["embeddings_after"], record["embeddings_before"]),
    }
    return next((bug for bug, sign in signs.items() if sign and bug != blind_to), HEALTHY)


def padding_is_a_bug(record: dict) -> str:
    """Takes masked padding for a masked end."""
    ends = [lab for tok, lab in zip(record["tokens"], record["labels"], strict=True) if tok == END]
    return NO_END if IGNORED in ends else diagnose(record)


def any_rounding(record: dict) -> str:
    """Takes any difference between the step and the change for the bug."""
    change = record["weight_after"] - record["weight_before"]
    exact = np.array_equal(change, record["step"])
    found = diagnose(record)
    return ROUNDED if found == HEALTHY and not exact else found


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
            "You call every specimen healthy. None of them raises an error: look at the numbers.",
        ),
        Misconception(
            padding_is_a_bug,
            "You take masked padding for the bug. Padding must be masked; the one end-of-text "
            "token that closes the answer must not.",
        ),
        Misconception(
            any_rounding,
            "You take rounding for the bug. bfloat16 rounds every step a little, and a healthy one "
            "still moves the weight. The bug is a step after which no weight has moved.",
        ),
        Misconception(
            partial(diagnose, blind_to=NO_END),
            "You miss the end that is never trained. Is `end` anywhere among the labels?",
        ),
        Misconception(
            partial(diagnose, blind_to=SHIFTED),
            "You miss the shifted labels. A label that counts must equal the token at its own "
            "place: the shift happens in the loss.",
        ),
        Misconception(
            partial(diagnose, blind_to=ROUNDED),
            "You miss the update that was rounded away. Compare `weight_after` with "
            "`weight_before`: did anything move?",
        ),
        Misconception(
            partial(diagnose, blind_to=TIED),
            "You miss the tied head. The head alone was to be trained, so the embeddings at the "
            "input may not move.",
        ),
    ],
    why="None of these bugs raises an error, and each loss curve falls or stands still politely. "
    "What finds them are four questions: is the end counted, is each label in its place, did the "
    "weights move, and did anything else move?",
)
