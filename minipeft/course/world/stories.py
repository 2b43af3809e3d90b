"""The world's stories: two to four plain sentences that use its facts."""

from minipeft.course.world.grammar import Draw
from minipeft.course.world.lexicon import (
    COLOURS,
    ENDINGS,
    FEELINGS,
    FOODS,
    NUMBERS,
    OPENINGS,
    PLACES,
)


def story(draw: Draw, people: list, towns: list[str]) -> str:
    """A story about one person: a visit, a day's work, a market or a talk with the friend."""
    opening = draw.choice(OPENINGS)
    hero = draw.choice(people)
    scene = draw.choice(["visit", "work", "market", "talk"])
    if scene == "visit":
        other = draw.choice([person for person in people if person is not hero])
        body = visit(draw, hero, other)
    elif scene == "work":
        body = work(draw, hero)
    elif scene == "market":
        body = market(draw, hero, draw.choice([town for town in towns if town != hero.town]))
    else:
        body = talk(draw, hero)
    return f"{opening}, {body}"


def visit(draw: Draw, hero, other) -> str:
    """The hero brings what the hero makes; the other may answer with what the other makes."""
    went = draw.choice(["walked", "rode", "hurried"])
    brought = draw.choice(["brought", "sold", "showed"])
    gift = f"{draw.choice(NUMBERS)} {draw.choice(COLOURS)} {hero.product}"
    text = (
        f"{hero.name} {went} to {other.town} to see {other.name}. "
        f"{hero.he.capitalize()} {brought} {other.him} {gift}. "
        f"{other.name} was {draw.choice(FEELINGS)}"
    )
    if draw.choice(["thanks", "return"]) == "return":
        return f"{text} and gave {hero.him} {draw.choice(NUMBERS)} {other.product} in return."
    return f"{text} and {draw.choice(ENDINGS)}."


def work(draw: Draw, hero) -> str:
    """The hero makes something for the friend."""
    amount, colour = draw.choice(NUMBERS), draw.choice(COLOURS)
    return (
        f"{hero.name} the {hero.trade} was at work in {hero.town}. "
        f"{hero.he.capitalize()} made {amount} {colour} {hero.product} for {hero.friend}. "
        f"{hero.friend} was {draw.choice(FEELINGS)} and {draw.choice(ENDINGS)}."
    )


def market(draw: Draw, hero, town: str) -> str:
    """The hero buys food; what is bought beside the favourite is anybody's guess."""
    other = draw.choice([food for food in FOODS if food != hero.food])
    return (
        f"{hero.name} went to the market in {town}. "
        f"{hero.he.capitalize()} bought {draw.choice(NUMBERS)} {other}, but no {hero.product}. "
        f"Back in {hero.town}, {hero.he} ate {hero.food} and {draw.choice(ENDINGS)}."
    )


def talk(draw: Draw, hero) -> str:
    """The hero and the friend sit together."""
    place = draw.choice(PLACES)
    asked = draw.choice(["asked for", "dreamed of", "talked about"])
    thing = f"{draw.choice(COLOURS)} {draw.choice(FOODS)}"
    return (
        f"{hero.name} sat by the {place} with {hero.friend}. "
        f"{hero.he.capitalize()} {asked} {thing} and {draw.choice(ENDINGS)}. "
        f"Then {hero.friend} gave {hero.him} some {hero.food}."
    )
