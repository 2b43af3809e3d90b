"""Task 3: labels for the answer alone. -100 is what torch's cross entropy leaves out."""

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case

IGNORED = -100


def label_answer(tokens, marker, length) -> list[int]:
    """The labels: tokens behind the first marker up to `length`, IGNORED elsewhere."""
    return between(tokens, place_of(tokens, marker) + len(marker), length)


def between(tokens, start, stop) -> list[int]:
    """The tokens from `start` to before `stop`, IGNORED elsewhere."""
    return [token if start <= at < stop else IGNORED for at, token in enumerate(tokens)]


def place_of(tokens, marker, last: bool = False) -> int:
    """Where the first (or last) marker begins."""
    places = range(len(tokens) - len(marker) + 1)
    found = [at for at in places if list(tokens[at : at + len(marker)]) == list(marker)]
    return found[-1 if last else 0]


def masked_by_value(tokens, marker, length) -> list[int]:
    """Masks every token that equals the padding, the end of the text too."""
    pad = tokens[length - 1]
    return [IGNORED if label == pad else label for label in label_answer(tokens, marker, length)]


def cases(generator: np.random.Generator) -> Cases:
    """Texts of distinct tokens: no padding, padding, a long marker, a marker that comes again."""
    found = []
    for before, size, after, padding, again in [
        (4, 2, 5, 0, False),
        (3, 2, 4, 3, False),
        (1, 3, 6, 2, False),
        (5, 2, 6, 4, True),
    ]:
        drawn = [int(n) for n in generator.permutation(np.arange(2, 900))]
        marker, text = drawn[:size], drawn[size : size + before + after]
        answer = text[before:]
        if again:
            answer = [*answer[:2], *marker, *answer[2:]]
        end = 1
        tokens = [*text[:before], *marker, *answer, end]
        found.append([tokens + [end] * padding, marker, len(tokens)])
    return found


PROMPT, PADDED, AGAIN = "the prompt is masked", "padding is masked, the end is not", "the first marker"

ANSWERS = Task(
    name="label_answer",
    title="3. The answer alone",
    points=3,
    cases=cases,
    answer=label_answer,
    parts=by_case(PROMPT, PADDED, PADDED, AGAIN),
    misconceptions=[
        Misconception(
            masked_by_value,
            "You mask the end-of-text token that closes the answer, perhaps with the padding, which "
            "is the same token. The model would never learn to stop. Mask by place: padding begins "
            "at `length`.",
        ),
        Misconception(
            lambda tokens, marker, length: between(tokens, place_of(tokens, marker), length),
            "The marker itself is still counted. It belongs to the prompt: the answer begins "
            "behind its last token.",
        ),
        Misconception(
            lambda tokens, marker, length: between(
                tokens, place_of(tokens, marker) + len(marker) + 1, length
            ),
            "You mask the answer's first token as well. The shift by one happens in the loss, not "
            "in the labels.",
        ),
        Misconception(
            lambda tokens, marker, length: between(
                tokens, place_of(tokens, marker) + len(marker), len(tokens)
            ),
            "Padding is counted: the model is trained to go on after the end of the text.",
        ),
        Misconception(
            lambda tokens, marker, length: between(tokens, 0, length),
            "The prompt is still counted. Mask all before the answer, and the marker too.",
        ),
        Misconception(
            lambda tokens, marker, length: between(
                tokens, place_of(tokens, marker, last=True) + len(marker), length
            ),
            "You look for the last marker. One that comes again is part of the answer: the first "
            "one counts.",
        ),
        Misconception(
            lambda tokens, marker, length: [
                *label_answer(tokens, marker, length)[1:],
                IGNORED,
            ],
            "Your labels are shifted by one place. The loss does that already; shifted twice, the "
            "model learns to guess the token after the next.",
        ),
    ],
    why="The loss skips -100, so no gradient asks the model to foresee a prompt that it will always "
    "be given. The end of the text stays: it is how the model says that it is done.",
)
