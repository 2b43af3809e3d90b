"""The entropy is exact: no text can be written in two ways, and p(text) is what the nats say."""

import math
import re
from collections import Counter

import pytest

from minipeft.course.world import KINDS, World, dialects, lexicon
from minipeft.course.world.grammar import Draw, derivations, documents


def toy(draw: Draw) -> str:
    """Six texts: a (1/4), b and one of x, y, z (1/4 each third), c and one of x, y (1/4 each)."""
    first = draw.pick({"a": 0.25, "b": 0.25, "c": 0.5})
    if first == "a":
        return first
    return first + draw.choice("xyz" if first == "b" else "xy")


def test_derivations_of_a_grammar_known_by_hand():
    found = {text: math.exp(-nats) for text, nats in derivations(toy)}
    expected = {"a": 1 / 4, "bx": 1 / 12, "by": 1 / 12, "bz": 1 / 12, "cx": 1 / 4, "cy": 1 / 4}
    assert found == pytest.approx(expected)


def test_an_ambiguous_grammar_is_noticed():
    def ambiguous(draw):
        return draw.choice(["a", "ab"]) + draw.choice(["b", "bb"])

    with pytest.raises(AssertionError):
        assert_unambiguous(ambiguous)


def assert_unambiguous(write, most=60_000):
    """No two derivations give one text, and together the texts have probability 1."""
    texts, total = set(), 0.0
    for text, nats in derivations(write):
        assert text not in texts, text
        texts.add(text)
        total += math.exp(-nats)
        assert len(texts) < most
    assert total == pytest.approx(1.0, abs=1e-9)
    return texts


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"story", "copyist"}))
def test_each_kind_of_the_whole_world_is_unambiguous(kind):
    assert_unambiguous(World().writers[kind])


def test_all_kinds_of_a_small_world_together_are_unambiguous(small_world, monkeypatch):
    monkeypatch.setattr(lexicon, "SYLLABLES", ["ba", "be"])  # for the copyist's words
    seen: dict[str, str] = {}
    for kind, write in small_world.writers.items():
        for text in assert_unambiguous(write):
            assert text not in seen, (seen.get(text), kind)
            seen[text] = kind
    assert set(seen.values()) == set(KINDS)
    assert sum(KINDS.values()) == pytest.approx(1)


@pytest.mark.parametrize("name", ["facts", "operation", "memory", "chef"])
def test_downstream_texts_are_unambiguous(name):
    assert_unambiguous(getattr(dialects, name)(World()))


@pytest.mark.parametrize("name", ["pirate", "language"])
def test_downstream_texts_of_a_small_world_are_unambiguous(name, small_world, monkeypatch):
    monkeypatch.setattr(dialects, "CRIES", dialects.CRIES[:2])
    monkeypatch.setattr(dialects, "OATHS", dialects.OATHS[:1])
    assert_unambiguous(getattr(dialects, name)(small_world))


@pytest.mark.parametrize("kind", ["shopkeeper", "question", "portrait", "translator"])
def test_texts_come_as_often_as_their_probability_says(kind):
    world, n = World(), 20_000
    drawn = Counter(d.text for d in world.documents(n, seed=5, kind=kind))
    table = dict(derivations(world.writers[kind]))
    assert set(drawn) <= set(table)
    # Pearson's statistic has mean k - 1 and variance 2 (k - 1); six deviations are never seen
    squares = 0.0
    for text, nats in table.items():
        expected = n * math.exp(-nats)
        squares += (drawn[text] - expected) ** 2 / expected
    freedom = len(table) - 1
    assert abs(squares - freedom) < 6 * math.sqrt(2 * freedom)


def test_kinds_come_as_often_as_their_weights_say():
    n = 20_000
    texts = [d.text for d in World().documents(n, seed=6)]
    for role in ("question", "calculator", "translator", "speller", "copyist", "shopkeeper"):
        share = sum(text.startswith(f"{role}: ") for text in texts) / n
        assert share == pytest.approx(KINDS[role], abs=6 * math.sqrt(KINDS[role] / n))


def story_patterns(world):
    """One regular expression for each scene, and the log of how many texts it has for a hero."""
    parts = {
        "person": world.names,
        "town": world.towns,
        "thing": list(lexicon.TRADES.values()),
        "trade": list(lexicon.TRADES),
        "food": lexicon.FOODS,
        "colour": lexicon.COLOURS,
        "number": lexicon.NUMBERS,
        "opening": lexicon.OPENINGS,
        "place": lexicon.PLACES,
        "feeling": lexicon.FEELINGS,
        "ending": lexicon.ENDINGS,
        "went": ["walked", "rode", "hurried"],
        "brought": ["brought", "sold", "showed"],
        "asked": ["asked for", "dreamed of", "talked about"],
        "pronoun": ["He", "She", "he", "she", "him", "her"],
    }
    visit = (
        "<opening>, <person> <went> to <town> to see <person>. <pronoun> <brought> <pronoun> "
        "<number> <colour> <thing>. <person> was <feeling> and "
    )
    # template: (the choices that are free once the scene is known)
    scenes = {
        visit + "<ending>.": [8, 60, 59, 3, 3, 8, 6, 6, 2, 5],
        visit + "gave <pronoun> <number> <thing> in return.": [8, 60, 59, 3, 3, 8, 6, 6, 2, 8],
        "<opening>, <person> the <trade> was at work in <town>. <pronoun> made <number> <colour> "
        "<thing> for <person>. <person> was <feeling> and <ending>.": [8, 60, 8, 6, 6, 5],
        "<opening>, <person> went to the market in <town>. <pronoun> bought <number> <food>, but "
        "no <thing>. Back in <town>, <pronoun> ate <food> and <ending>.": [8, 60, 11, 7, 8, 5],
        "<opening>, <person> sat by the <place> with <person>. <pronoun> <asked> <colour> <food> "
        "and <ending>. Then <person> gave <pronoun> some <food>.": [8, 60, 6, 3, 6, 8, 5],
    }
    for template, free in scenes.items():
        pattern = re.escape(template)
        for name, options in parts.items():
            pattern = pattern.replace(f"<{name}>", "(" + "|".join(options) + ")")
        yield re.compile(pattern), math.log(4) + sum(math.log(options) for options in free)


def test_stories_of_the_whole_world_have_the_probability_read_off_their_text():
    world = World()
    patterns = list(story_patterns(world))
    used = Counter()
    for document in world.documents(3_000, seed=7, kind="story"):
        nats = [nats for pattern, nats in patterns if pattern.fullmatch(document.text)]
        assert len(nats) == 1, document.text
        assert document.nats == pytest.approx(nats[0])
        used.update(nats)
    assert len(used) == len({nats for _, nats in patterns})


def test_the_same_seed_gives_the_same_documents_and_another_seed_others():
    assert documents(toy, "toy", 50, seed=1) == documents(toy, "toy", 50, seed=1)
    assert documents(toy, "toy", 50, seed=1) != documents(toy, "toy", 50, seed=2)
