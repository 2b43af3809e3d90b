"""The world's facts: fixed by the seed, and told alike in every kind of document."""

import re

import pytest

from minipeft.course.world import KINDS, World, lexicon


@pytest.fixture(scope="module")
def world():
    return World()


def test_facts_depend_on_the_seed_alone(world):
    again, other = World(0), World(1)
    assert (again.people, again.towns, again.prices) == (world.people, world.towns, world.prices)
    assert again.old_tongue == world.old_tongue
    assert other.people != world.people and other.prices != world.prices


def test_people(world):
    assert len(set(world.names)) == len(world.people) == 60
    assert len(set(world.towns)) == 12
    assert 15 < sum(person.woman for person in world.people) < 45
    for person in world.people:
        assert person.friend in world.names and person.friend != person.name
        assert person.town in world.towns and person.trade in lexicon.TRADES
        assert (person.he, person.him) == (("she", "her") if person.woman else ("he", "him"))
    assert len(set(world.old_tongue.values())) == len(world.old_tongue)


def test_portraits_and_answers_are_true(world):
    for document in world.documents(500, seed=1, kind="portrait"):
        person = world.person(document.text.split()[0])
        assert f" is a {person.trade}. " in document.text
        for told, fact in [
            (r"lives in (\w+)", person.town),
            (r"makes (\w+)", person.product),
            (r"likes (\w+)", person.food),
            (r"friend of (\w+)", person.friend),
        ]:
            assert re.findall(told, document.text) in ([], [fact])
    for document in world.documents(500, seed=1, kind="question"):
        person = world.person(document.text.split("answer: ")[1].split()[0].removesuffix("'s"))
        truths = (person.town, person.product, person.food, person.trade, person.friend)
        assert document.text.rstrip(".").split()[-1] in truths


def test_stories_use_the_facts(world):
    for document in world.documents(1000, seed=2, kind="story"):
        hero = world.person(next(w for w in re.findall(r"\w+", document.text) if w in world.names))
        if "to the market" in document.text:
            assert f"Back in {hero.town}, {hero.he} ate {hero.food}" in document.text
        if "at work" in document.text:
            assert f"{hero.name} the {hero.trade} was at work in {hero.town}" in document.text
            assert f"{hero.product} for {hero.friend}. {hero.friend} was" in document.text
        sentences = document.text.count(".")
        assert 2 <= sentences <= 4


@pytest.mark.parametrize("kind", ["arithmetic", "calculator"])
def test_sums_are_right(world, kind):
    signs = set()
    for document in world.documents(2000, seed=3, kind=kind):
        a, sign, b, result = re.findall(r"\d+|[+-]", document.text)
        signs.add(sign)
        assert int(result) == (int(a) + int(b) if sign == "+" else int(a) - int(b)) >= 0
    assert signs == {"+", "-"}


def test_every_kind_occurs_and_documents_are_short(world, tokenizer):
    for kind in KINDS:
        documents = world.documents(300, seed=4, kind=kind)
        assert {document.kind for document in documents} == {kind}
        assert max(len(tokenizer.encode(document.text).ids) for document in documents) <= 60
    assert len(world.documents(10, seed=4)) == 10


def test_a_kind_or_a_person_that_does_not_exist(world):
    with pytest.raises(ValueError, match=r"'storey'.*nearest: 'story'"):
        world.documents(1, seed=0, kind="storey")
    with pytest.raises(ValueError, match=f"{world.names[0]}x.*nearest: .*{world.names[0]}"):
        world.person(f"{world.names[0]}x")
