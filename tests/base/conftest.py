"""A world small enough to write down every text that it has."""

import pytest

from minipeft.course.base import load_tokenizer
from minipeft.course.world import World, lexicon, stories

KEPT = {
    "FOODS": 3,
    "COLOURS": 2,
    "NUMBERS": 2,
    "OPENINGS": 2,
    "PLACES": 2,
    "FEELINGS": 2,
    "ENDINGS": 2,
    "SYLLABLES": 14,
    "NAME_STARTS": 3,
    "ALL_NAME_ENDS": 2,
    "LETTERS": 1,
    "SIGNS": 1,
}


@pytest.fixture
def small_world(monkeypatch):
    """Three people, three towns, and the first few words of every list."""
    world = World(seed=3, people=3, towns=3)
    for name, count in KEPT.items():
        words = getattr(lexicon, name)[:count]
        for module in (lexicon, stories):
            monkeypatch.setattr(module, name, words, raising=False)
    return world


@pytest.fixture(scope="session")
def tokenizer():
    """The tokenizer that ships."""
    return load_tokenizer()
