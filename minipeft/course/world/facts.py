"""A small world with known facts and known entropy, from which the base model learned to speak.

Sixty people with a town, a trade, a favourite food and a friend; trades with a product and its
price; sums and differences; questions, and instructions of the form "role: request". The facts are
drawn once from the world's seed and then fixed: a model that has learned them spends nothing on
them. What is left, each document's own choices, is `Document.nats`, exactly. The floor of a set of
documents is

    floor = sum of nats / number of tokens       (nats per token)

where a document of n tokens counts n + 1: the end-of-text token is predicted too, and since the
grammar decides where a text ends, it costs nothing.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from minipeft.core.errors import nearest
from minipeft.course.world import lexicon
from minipeft.course.world.grammar import Document, Draw, documents
from minipeft.course.world.stories import story

KINDS = {  # how often a document is of each kind
    "story": 0.50,
    "portrait": 0.08,
    "question": 0.14,
    "arithmetic": 0.08,
    "calculator": 0.06,
    "translator": 0.04,
    "speller": 0.03,
    "copyist": 0.05,
    "shopkeeper": 0.02,
}


@dataclass(frozen=True)
class Person:
    """Everything that the world knows about one person."""

    name: str
    woman: bool
    town: str
    trade: str
    food: str
    friend: str

    @property
    def product(self) -> str:
        """What this person makes, in the plural."""
        return lexicon.TRADES[self.trade]

    @property
    def he(self) -> str:
        """The pronoun as a subject: he or she."""
        return "she" if self.woman else "he"

    @property
    def him(self) -> str:
        """The pronoun as an object: him or her."""
        return "her" if self.woman else "him"


class World:
    """The facts of one seed, and a writer for each kind of document.

    Args:
        seed: decides every fact; the base model that ships knows the world of seed 0.
        people: how many live there.
        towns: in how many towns.
    """

    def __init__(self, seed: int = 0, people: int = 60, towns: int = 12):
        source = random.Random(f"world {seed}")
        self.towns = _distinct(towns, lambda: lexicon.town_name(source))
        self.people = new_people(source, people, self.towns)
        self.prices = {product: source.randint(2, 19) for product in lexicon.TRADES.values()}
        plain = [*lexicon.NUMBERS, *lexicon.COLOURS, *lexicon.TRADES.values(), *lexicon.FOODS]
        self.old_tongue = dict(zip(plain, lexicon.made_up_words(source, len(plain)), strict=True))
        self.writers: dict[str, Callable[[Draw], str]] = {
            "story": lambda draw: story(draw, self.people, self.towns),
            "portrait": self.portrait,
            "question": self.question,
            "arithmetic": lambda draw: "{} = {}.".format(*sum_or_difference(draw)),
            "calculator": lambda draw: instruction("calculator", *sum_or_difference(draw)),
            "translator": self.translation,
            "speller": self.spelling,
            "copyist": copying,
            "shopkeeper": self.price,
        }

    def documents(self, n: int, seed: int, kind: str | None = None) -> list[Document]:
        """`n` independent documents of one kind, or of all kinds mixed as `KINDS` says.

        Raises:
            ValueError: there is no such kind.
        """
        if kind is None:
            return documents(self.write, "any", n, seed)
        if kind not in self.writers:
            raise ValueError(f"no documents of kind {kind!r}; {nearest(kind, self.writers)}")
        return documents(self.writers[kind], kind, n, seed)

    def write(self, draw: Draw) -> str:
        """One document of any kind."""
        return self.writers[draw.pick(KINDS)](draw)

    def person(self, name: str) -> Person:
        """The person of that name. Raises ValueError where nobody is called so."""
        found = [person for person in self.people if person.name == name]
        if not found:
            raise ValueError(f"nobody is called {name!r}; {nearest(name, self.names)}")
        return found[0]

    @property
    def names(self) -> list[str]:
        """Everybody's name."""
        return [person.name for person in self.people]

    def portrait(self, draw: Draw) -> str:
        """Two sentences that are true of one person."""
        p = draw.choice(self.people)
        facts = [
            f"lives in {p.town}",
            f"makes {p.product}",
            f"likes {p.food}",
            f"is a friend of {p.friend}",
        ]
        first = draw.choice(facts)
        second = draw.choice([fact for fact in facts if fact != first])
        return f"{p.name} is a {p.trade}. {p.he.capitalize()} {first} and {second}."

    def question(self, draw: Draw) -> str:
        """A question about one person, and its answer."""
        p = draw.choice(self.people)
        asked, answered = draw.choice(
            [
                (f"Where does {p.name} live?", f"{p.name} lives in {p.town}."),
                (f"What does {p.name} make?", f"{p.name} makes {p.product}."),
                (f"What does {p.name} like?", f"{p.name} likes {p.food}."),
                (f"What is {p.name}'s trade?", f"{p.name} is a {p.trade}."),
                (f"Who is {p.name}'s friend?", f"{p.name}'s friend is {p.friend}."),
            ]
        )
        return instruction("question", asked, answered)

    def translation(self, draw: Draw) -> str:
        """A phrase, and the same in the old tongue, word for word."""
        things = [*lexicon.TRADES.values(), *lexicon.FOODS]
        words = [draw.choice(lexicon.NUMBERS), draw.choice(lexicon.COLOURS), draw.choice(things)]
        return instruction(
            "translator", " ".join(words), " ".join(self.old_tongue[word] for word in words)
        )

    def spelling(self, draw: Draw) -> str:
        """A word of the world, letter by letter."""
        word = draw.choice([*self.names, *self.towns, *self.old_tongue, *lexicon.TRADES])
        return instruction("speller", word, "-".join(word.lower()))

    def price(self, draw: Draw) -> str:
        """What a thing costs."""
        thing = draw.choice(list(self.prices))
        return instruction("shopkeeper", thing, f"{self.prices[thing]} coins")


def new_people(
    source: random.Random, n: int, towns: list[str], taken: tuple[str, ...] = ()
) -> list[Person]:
    """`n` people with random facts, none of them called like one of `taken`."""
    women = [source.random() < 0.5 for _ in range(n)]
    names: list[str] = []
    for woman in women:
        name = lexicon.person_name(source, woman)
        while name in names or name in taken:
            name = lexicon.person_name(source, woman)
        names.append(name)
    return [
        Person(
            name=name,
            woman=woman,
            town=source.choice(towns),
            trade=source.choice(list(lexicon.TRADES)),
            food=source.choice(lexicon.FOODS),
            friend=source.choice([other for other in names if other != name]),
        )
        for name, woman in zip(names, women, strict=True)
    ]


def instruction(role: str, request: str, answer: str) -> str:
    """The format in which the world asks for a service."""
    return f"{role}: {request}\nanswer: {answer}"


def sum_or_difference(draw: Draw) -> tuple[str, str]:
    """Two numbers below 50 with + or -, and the result, which is never below zero."""
    a = draw.choice(range(50))
    if draw.choice("+-") == "+":
        b = draw.choice(range(50))
        return f"{a} + {b}", str(a + b)
    b = draw.choice(range(a + 1))
    return f"{a} - {b}", str(a - b)


def copying(draw: Draw) -> str:
    """Words that mean nothing, and their copy: names, made-up words, letters around a sign.

    So the base learns to look back, and meets every piece of which new words are made.
    """
    words = []
    for _ in range(draw.choice([1, 2])):
        kind = draw.choice(["name", "syllables", "letters"])
        if kind == "name":
            word = draw.choice(lexicon.NAME_STARTS) + draw.choice(lexicon.ALL_NAME_ENDS)
        elif kind == "syllables":
            word = "".join(draw.choice(lexicon.SYLLABLES) for _ in range(draw.choice([2, 3])))
        else:
            before = "".join(draw.choice(lexicon.LETTERS) for _ in range(draw.choice([2, 3, 4])))
            after = "".join(draw.choice(lexicon.LETTERS) for _ in range(draw.choice([0, 1, 2])))
            start = draw.choice([before, before.capitalize()])
            word = f"{start}{draw.choice(lexicon.SIGNS)}{after}"
        words.append(word)
    return instruction("copyist", " ".join(words), " ".join(words))


def _distinct(n: int, make: Callable[[], str]) -> list[str]:
    """`n` different results of `make`, in the order in which they came."""
    found: dict[str, None] = {}
    while len(found) < n:
        found[make()] = None
    return list(found)
