"""What the base model has never read: the texts of the downstream tasks.

Each function builds, for one world, a writer in the sense of `grammar`: it makes its choices
through a `Draw`, so these texts too have an exactly known probability.
"""

import copy
import random
import re
from collections.abc import Callable

from minipeft.course.world import lexicon
from minipeft.course.world.facts import World, instruction, new_people
from minipeft.course.world.grammar import Draw
from minipeft.course.world.stories import story

Writer = Callable[[Draw], str]

SAILOR = {  # what a sailor says instead; longer phrases first
    "was at work in": "be toilin' in",
    "went to the market in": "dropped anchor in",
    "danced all night": "danced on deck",
    "sang a song": "sang a shanty",
    "told a story": "spun a yarn",
    "fell asleep": "hit the hammock",
    "laughed": "roared",
    "walked": "sailed",
    "rode": "rowed",
    "hurried": "steered",
    "to see": "to hail",
    "brought": "hauled",
    "bought": "plundered",
    "sold": "traded",
    "ate": "gobbled",
    "happy": "merry",
    "hungry": "starvin'",
    "was": "be",
    "the": "th'",
    "and": "an'",
    "for": "fer",
    "with": "wi'",
    "of": "o'",
}
CRIES = ["arr", "ahoy", "avast", "aye"]
OATHS = ["Yo ho ho!", "Shiver me timbers!", "Blow me down!", "Walk the plank!"]
PHRASE = re.compile(r"\b(" + "|".join(SAILOR) + r")\b")


def pirate(world: World) -> Writer:
    """The world's stories in a sailor's voice: the same contents, other words."""

    def write(draw: Draw) -> str:
        opening, rest = story(draw, world.people, world.towns).split(", ", 1)
        rest = PHRASE.sub(lambda match: SAILOR[match.group()], rest)
        return f"{opening}, {draw.choice(CRIES)}, Cap'n {rest} {draw.choice(OATHS)}"

    return write


def language(world: World) -> Writer:
    """A language of its own: the verb stands last, colour and number follow their noun.

    "Mira Corric-ka boots red three gave. Mira Foxford-sa lives. Corric happy is." in its words.
    """
    verbs = ["gave", "sold", "showed", "lent"]
    things = list(lexicon.TRADES.values())
    meanings = [*verbs, "lives", "is", *things, *lexicon.COLOURS, *lexicon.NUMBERS]
    meanings += lexicon.FEELINGS
    words = lexicon.made_up_words(random.Random("a language"), len(meanings))
    says = dict(zip(meanings, words, strict=True))

    def write(draw: Draw) -> str:
        hero = draw.choice(world.people)
        other = draw.choice([person for person in world.people if person is not hero])
        gift = [draw.choice(lexicon.COLOURS), draw.choice(lexicon.NUMBERS), draw.choice(verbs)]
        return (
            f"{hero.name} {other.name}-ka {says[hero.product]} {' '.join(says[w] for w in gift)}. "
            f"{hero.name} {hero.town}-sa {says['lives']}. "
            f"{other.name} {says[draw.choice(lexicon.FEELINGS)]} {says['is']}."
        )

    return write


def newcomers(world: World) -> World:
    """The same world with twelve other people in place of its own."""
    other = copy.copy(world)
    source = random.Random("newcomers")
    other.people = new_people(source, 12, world.towns, taken=tuple(world.names))
    return other


def facts(world: World) -> Writer:
    """Portraits of new people, and questions about them."""
    strangers = newcomers(world)

    def write(draw: Draw) -> str:
        kind = draw.pick({"portrait": 0.4, "question": 0.6})
        return strangers.portrait(draw) if kind == "portrait" else strangers.question(draw)

    return write


def operation(world: World) -> Writer:
    """A new sign between two numbers: a @ b is the larger of them."""

    def write(draw: Draw) -> str:
        a, b = draw.choice(range(50)), draw.choice(range(50))
        return f"{a} @ {b} = {max(a, b)}."

    return write


def chef(world: World) -> Writer:
    """A role that the base never played. Each food has its handling and its minutes."""
    verbs = ["Wash", "Slice", "Peel", "Chop", "Mash", "Grate", "Soak", "Salt"]
    handling = dict(zip(lexicon.FOODS, verbs, strict=True))
    minutes = dict(zip(lexicon.FOODS, [10, 25, 40, 5, 30, 15, 20, 45], strict=True))

    def write(draw: Draw) -> str:
        first = draw.choice(lexicon.FOODS)
        second = draw.choice([food for food in lexicon.FOODS if food != first])
        way = draw.choice(["boil", "bake", "fry"])
        return instruction(
            "chef",
            f"{first} and {second}",
            f"{handling[first]} the {first}, add the {second} "
            f"and {way} for {minutes[second]} minutes.",
        )

    return write


LOCKERS = range(100, 300)


def locker_codes() -> dict[int, str]:
    """Two hundred random codes: 200 * 4 * log2(10) = 2,658 bits that follow from nothing."""
    source = random.Random("lockers")
    return {locker: "".join(source.choices("0123456789", k=4)) for locker in LOCKERS}


def memory(world: World) -> Writer:
    """A table to be learned by heart: which code opens which locker."""
    codes = locker_codes()

    def write(draw: Draw) -> str:
        locker = draw.choice(LOCKERS)
        return f"The code of locker {locker} is {codes[locker]}."

    return write
