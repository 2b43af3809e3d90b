"""Task 5: the nearest word of each row of a soft prompt."""

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import ids_seen
from .prompt import normal


def cosines(P, table) -> np.ndarray:
    """(n, vocabulary)."""
    P, table = (np.asarray(rows, np.float64) for rows in (P, table))
    P = P / np.linalg.norm(P, axis=1, keepdims=True)
    return P @ (table / np.linalg.norm(table, axis=1, keepdims=True)).T


def distances(P, table) -> np.ndarray:
    """(n, vocabulary), Euclidean."""
    P, table = (np.asarray(rows, np.float64) for rows in (P, table))
    return np.linalg.norm(P[:, None] - table, axis=2)


def nearest(P, table):
    """The id of the largest cosine of each row."""
    return cosines(P, table).argmax(axis=1)


def by_product(P, table):
    """Without the lengths: long words win."""
    return (np.asarray(P, np.float64) @ np.asarray(table, np.float64).T).argmax(axis=1)


def by_distance(P, table):
    """The nearest point."""
    return distances(P, table).argmin(axis=1)


def farthest(P, table):
    """The smallest cosine."""
    return cosines(P, table).argmin(axis=1)


def by_size_of_cosine(P, table):
    """The opposite direction counts as near."""
    return np.abs(cosines(P, table)).argmax(axis=1)


def of_each_word(P, table):
    """For each word the nearest row of the prompt."""
    return cosines(P, table).argmax(axis=0)


def one_length(P, table):
    """All of the prompt divided by one norm, the words by none."""
    return by_product(np.asarray(P) / np.linalg.norm(P), table)


def drawn(generator: np.random.Generator, n: int, words: int, size: float) -> list:
    """A prompt of rows of this size and a table of words of unlike lengths."""
    table = normal(generator, words, 8) * generator.uniform(0.3, 3, size=(words, 1))
    return [size * normal(generator, n, 8), table.astype(np.float32)]


def clear(P, table) -> bool:
    """Whether each nearest word is so by a margin, and every mistake shows."""
    ranked = np.sort(np.abs(cosines(P, table)), axis=1)
    wrong = (by_product(P, table), by_distance(P, table), by_size_of_cosine(P, table))
    shows = all((found != nearest(P, table)).any() for found in wrong)
    apart = (wrong[0] != wrong[1]).any()
    return bool((ranked[:, -1] - ranked[:, -2] > 0.01).all() and shows and apart)


def nearest_cases(generator: np.random.Generator) -> Cases:
    """A prompt near the words' length, and one that is much longer, as trained ones are."""
    found = []
    for n, words, size in [(6, 25, 0.5), (8, 40, 2.0)]:
        case = drawn(generator, n, words, size)
        while not clear(*case):
            case = drawn(generator, n, words, size)
        found.append(case)
    return found


NEAREST = Task(
    name="nearest_words",
    title="5. What does it say?",
    points=3,
    cases=nearest_cases,
    answer=nearest,
    observe=ids_seen,
    parts=by_case("a short prompt", "a long prompt"),
    misconceptions=[
        Misconception(
            by_product,
            "You compared inner products, so long words win whatever their direction. A cosine "
            "divides by the length of the word.",
        ),
        Misconception(
            by_distance,
            "You took the smallest distance. A trained prompt is far longer than any word, and "
            "then distance tells about length: compare directions.",
        ),
        Misconception(
            farthest,
            "These are the farthest words: the cosine of near directions is large.",
        ),
        Misconception(
            by_size_of_cosine,
            "You count the opposite direction as near. A cosine of -1 is as far as it gets.",
        ),
        Misconception(
            of_each_word,
            "You found the nearest row for each word. Asked for is the nearest word for each row.",
        ),
        Misconception(
            lambda P, table: cosines(P, table).max(axis=1),
            "These are the cosines of the nearest words. Asked for are their ids.",
        ),
    ],
    why="Of directions the cosine tells, whatever the lengths. That a word is the nearest does not "
    "mean that it is near: read the cosine beside it.",
)
