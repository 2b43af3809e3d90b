"""How good the guesses of a course were: guess over answer by lesson, and confidence against hits.

A number's error is told as a ratio, since a guess that is twice as large as the answer is as far
off as one that is half of it. Guesses in words are right or wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .predict import Prediction

FACTOR = 2  # a number within this factor of the answer is near
BINS = ((0.0, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.01))  # of confidence: from, and less than


@dataclass(frozen=True)
class Ratio:
    """A numeric guess whose answer was seen. lesson: as in "03". ratio: guess / answer."""

    lesson: str
    ratio: float

    @property
    def near(self) -> bool:
        """Within a factor of 2."""
        return 1 / FACTOR <= self.ratio <= FACTOR


@dataclass(frozen=True)
class Sure:
    """The guesses of which someone was about equally sure.

    stated: their mean confidence. right: the share that was. n: how many.
    """

    stated: float
    right: float
    n: int


def is_number(value: object) -> bool:
    """Whether a guess or an answer is a number; yes and no are words."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def answered(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Those whose answer was shown."""
    return [one for one in predictions if one.hit is not None]


def ratios(predictions: Sequence[Prediction]) -> list[Ratio]:
    """Guess over answer for the numbers of one sign; a guess of 0 has no ratio."""
    return [
        Ratio(one.key.partition("-")[0], one.guess / one.truth)
        for one in answered(predictions)
        if is_number(one.guess) and is_number(one.truth) and one.guess * one.truth > 0
    ]


def by_confidence(predictions: Sequence[Prediction]) -> list[Sure]:
    """Stated confidence against the share that was right, in four bins; empty ones are left out."""
    sure = [one for one in answered(predictions) if one.confidence is not None]
    bins = [[one for one in sure if low <= one.confidence < high] for low, high in BINS]
    return [
        Sure(
            stated=sum(one.confidence for one in group) / len(group),
            right=sum(one.hit for one in group) / len(group),
            n=len(group),
        )
        for group in bins
        if group
    ]


def told(predictions: Sequence[Prediction]) -> str:
    """What was guessed and how well, in a few plain lines."""
    seen = answered(predictions)
    if not seen:
        waiting = f" {len(predictions)} wait for their answer." if predictions else ""
        return f"No guess of yours with its answer is recorded here.{waiting}"
    numbers = [one for one in seen if is_number(one.guess) and is_number(one.truth)]
    near = sum(ratio.near for ratio in ratios(seen))
    words = [one for one in seen if one not in numbers]
    lines = [f"{len(seen)} guesses with their answers"]
    if numbers:
        lines.append(f"numbers within a factor of 2: {near} of {len(numbers)}")
    if words:
        lines.append(f"words that were right: {sum(one.hit for one in words)} of {len(words)}")
    for sure in by_confidence(seen):
        lines.append(f"{sure.stated:.0%} sure: {sure.right:.0%} right of {sure.n}")
    return "\n".join(lines)


def made_up(seed: int = 7, spread: float = 0.6, boldness: float = 0.25) -> list[Prediction]:
    """A student who does not exist: five guesses a lesson, each with a confidence, all answered.

    spread: standard deviation of log(guess / answer). boldness: by how much the stated confidence
    is above the chance of being right.
    """
    generator, found = np.random.default_rng(seed), []
    for lesson in range(19):
        for number in range(5):
            chance = float(generator.uniform(0.2, 0.95))
            hit = bool(generator.random() < chance)
            error = float(np.exp(generator.normal(0, spread)))
            truth = float(10 ** generator.uniform(0, 4))
            guess = truth * (float(generator.uniform(0.92, 1.08)) if hit else error)
            confidence = min(chance + boldness, 1.0)
            key = f"{lesson:02}-made-up-{number}"
            found.append(Prediction(key, guess, confidence, "", truth, hit))
    return found
