"""Random texts whose probability is known exactly.

A text is written by a function that makes all its random choices through a `Draw`. Each choice
among options of probability p adds -log p, so that at the end

    nats = - sum over choices of log p(choice) = - log p(text)

The last step needs that no text can be written in two ways: then the choices can be read off the
text, and the expected nats are the entropy, below which no model's mean loss can fall (Shannon
1948, "A Mathematical Theory of Communication", section 6). `derivations` writes every text that a
small grammar has, which lets a test prove it.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """A text, what it is (`kind`), and how surprising it is: `nats` = -log p(text)."""

    text: str
    nats: float
    kind: str


class Draw:
    """Makes one document's choices and adds up their surprise in `nats`."""

    def __init__(self, source: random.Random):
        self.source = source
        self.nats = 0.0

    def choice(self, options: Sequence):
        """One of the options, all equally likely."""
        self.nats += math.log(len(options))
        return options[self.index(len(options))]

    def pick(self, weights: dict):
        """One of the keys, as likely as its weight says; the weights add up to 1."""
        options = list(weights)
        option = options[self.index(len(options), list(weights.values()))]
        self.nats -= math.log(weights[option])
        return option

    def index(self, options: int, weights: Sequence[float] | None = None) -> int:
        """Where the randomness comes in; `Replay` takes it out."""
        return self.source.choices(range(options), weights)[0]


class Replay(Draw):
    """Makes given choices, then always the first one, and records how many options there were."""

    def __init__(self, path: Sequence[int]):
        super().__init__(random.Random(0))
        self.path = list(path)
        self.taken: list[tuple[int, int]] = []  # (index, number of options)

    def index(self, options: int, weights: Sequence[float] | None = None) -> int:
        """The next index of the path, or 0 beyond its end."""
        step = len(self.taken)
        index = self.path[step] if step < len(self.path) else 0
        self.taken.append((index, options))
        return index


def derivations(write: Callable[[Draw], str]) -> Iterator[tuple[str, float]]:
    """Every way in which `write` can make its choices, as (text, nats), in a fixed order."""
    path: list[int] | None = []
    while path is not None:
        replay = Replay(path)
        yield write(replay), replay.nats
        path = _following(replay.taken)


def _following(taken: list[tuple[int, int]]) -> list[int] | None:
    """Count up by one, like an odometer: raise the last choice that has an option left."""
    for step in reversed(range(len(taken))):
        index, options = taken[step]
        if index + 1 < options:
            return [i for i, _ in taken[:step]] + [index + 1]
    return None


def documents(write: Callable[[Draw], str], kind: str, n: int, seed: int) -> list[Document]:
    """`n` independent documents; the same seed gives the same ones."""
    source = random.Random(f"{kind} {seed}")
    result = []
    for _ in range(n):
        draw = Draw(source)
        text = write(draw)
        result.append(Document(text, draw.nats, kind))
    return result
