"""Task 1a: a soft prompt before the embeddings of a batch, and its labels.

Prompt tuning, arXiv 2104.08691, section 2.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import pair_seen

IGNORED = -100
Pair = tuple[np.ndarray, np.ndarray]


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers, in float32 as torch has them."""
    return generator.normal(size=shape).astype(np.float32)


def prompt_cases(generator: np.random.Generator) -> Cases:
    """Batches of unlike sizes; the second has padding, whose labels are -100 already."""
    found = []
    for n, batch, length, d in [(3, 2, 5, 4), (5, 3, 7, 6), (2, 4, 6, 5)]:
        labels = generator.integers(1, 90, size=(batch, length))
        if n == 5:
            labels[0, -2:] = IGNORED
        found.append([normal(generator, n, d), normal(generator, batch, length, d), labels])
    return found


def repeated(P: np.ndarray, batch: int) -> np.ndarray:
    """(n, d) -> (batch, n, d)."""
    return np.repeat(P[None], batch, axis=0)


def filled(labels: np.ndarray, n: int, fill: int = IGNORED) -> np.ndarray:
    """n more labels of one value, (batch, n)."""
    return np.full((len(labels), n), fill, dtype=labels.dtype)


def inputs_of(P: np.ndarray, text: np.ndarray) -> np.ndarray:
    """[P; text] in each row of the batch."""
    return np.concatenate([repeated(P, len(text)), text], axis=1)


def with_prompt(P, text, labels, mark: Callable = filled) -> Pair:
    """([P; text], [-100 ...; labels]); the mistakes differ in the labels."""
    return inputs_of(P, text), np.concatenate([mark(labels, len(P)), labels], axis=1)


def behind(P, text, labels) -> Pair:
    """Prompt and its labels after the text."""
    inputs = np.concatenate([text, repeated(P, len(text))], axis=1)
    return inputs, np.concatenate([labels, filled(labels, len(P))], axis=1)


def marked_at_the_end(P, text, labels) -> Pair:
    """The right inputs, the -100 at the other end."""
    return inputs_of(P, text), np.concatenate([labels, filled(labels, len(P))], axis=1)


def over_the_text(P, text, labels) -> Pair:
    """The prompt in place of the first tokens."""
    inputs, kept = text.copy(), labels.copy()
    n = min(len(P), text.shape[1])
    inputs[:, :n] = P[:n]
    kept[:, :n] = IGNORED
    return inputs, kept


def shifted_too(P, text, labels) -> Pair:
    """Labels moved by one, as the loss will do once more."""
    inputs, longer = with_prompt(P, text, labels)
    return inputs, np.concatenate([longer[:, 1:], filled(labels, 1)], axis=1)


WITH_PROMPT = Task(
    name="with_prompt",
    title="1a. A prompt before a batch",
    points=2,
    cases=prompt_cases,
    answer=with_prompt,
    observe=pair_seen,
    parts=by_case("plain batches", "a batch with padding", "plain batches"),
    misconceptions=[
        Misconception(
            behind,
            "You put the prompt behind the text. A decoder reads from left to right: no token of "
            "the text would ever see it.",
        ),
        Misconception(
            lambda P, text, labels: (inputs_of(P, text), labels),
            "The labels are still as long as the text. Each place needs one: the model predicts at "
            "the virtual places, too.",
        ),
        Misconception(
            partial(with_prompt, mark=partial(filled, fill=0)),
            "The labels of the virtual places are 0. That is a token, and the loss would teach it; "
            "what is not counted has the label -100.",
        ),
        Misconception(
            marked_at_the_end,
            "The prompt stands in front, but its labels at the end: now every label of the text "
            "stands n places too early.",
        ),
        Misconception(
            over_the_text,
            "You wrote the prompt over the first tokens of the text. It is put before them, and "
            "the text is n places longer.",
        ),
        Misconception(
            shifted_too,
            "You moved the labels by one. The loss does that: here a label stands where its token "
            "stands.",
        ),
        Misconception(
            lambda P, text, labels: with_prompt(P, text, np.full_like(labels, IGNORED)),
            "You masked the labels of the text as well. Then nothing is counted and nothing "
            "learned.",
        ),
    ],
    why="To the frozen model the rows of P are embeddings like any others. Nobody asks for a "
    "prediction there, so their labels are -100.",
)
