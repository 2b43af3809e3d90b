"""The words that the world is made of, and how its names are put together."""

import random


def words(text: str) -> list[str]:
    """The words of a line, so that a long list reads as one."""
    return text.split()


TRADES = {  # trade: what it makes
    "baker": "loaves",
    "potter": "bowls",
    "weaver": "blankets",
    "smith": "knives",
    "carpenter": "chairs",
    "cobbler": "boots",
    "tailor": "coats",
    "cooper": "barrels",
    "hatter": "hats",
    "clockmaker": "clocks",
    "candlemaker": "candles",
    "toymaker": "kites",
}
FOODS = ["apples", "plums", "pears", "nuts", "cherries", "onions", "carrots", "beans"]
COLOURS = ["red", "blue", "green", "white", "black", "golden"]
NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine"]
OPENINGS = [
    "One morning",
    "One evening",
    "At noon",
    "On market day",
    "Before sunrise",
    "After the storm",
    "In the spring",
    "On a cold day",
]
PLACES = ["river", "bridge", "well", "old oak", "fire", "mill"]
FEELINGS = ["happy", "proud", "grateful", "surprised", "tired", "hungry"]
ENDINGS = ["laughed", "sang a song", "danced all night", "told a story", "fell asleep"]

NAME_STARTS = words(
    "Al Ber Bran Cal Cor Dar Del Ed El Fal Fen Gal Gar Hal Hel Ist Jar Jor Kel Kir Lan Lor Mar Mir "
    "Nal Nor Ol Or Pel Per Quil Ral Ros Sal Sel Tam Tor Ulv Ur Val Vel Wil Wen Yar Yor Zan Zel"
)
NAME_ENDS = {True: words("a ina etta ira enna"), False: words("en in ric us or")}  # woman?
ALL_NAME_ENDS = [*NAME_ENDS[True], *NAME_ENDS[False]]
TOWN_STARTS = words(
    "Amber Birch Cold Dusk Elm Fox Gold Hazel Iron Lark Moss North Oak Pine Raven Silver Thorn"
)
TOWN_ENDS = words("ford wick dale mere haven field")
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]

LETTERS = list("abcdefghijklmnopqrstuvwxyz")
SIGNS = list("!?'&@#%*/;()<>_^~|")


def person_name(source: random.Random, woman: bool) -> str:
    """An invented name, such as Belina or Corric."""
    return source.choice(NAME_STARTS) + source.choice(NAME_ENDS[woman])


def town_name(source: random.Random) -> str:
    """An invented town, such as Foxmere."""
    return source.choice(TOWN_STARTS) + source.choice(TOWN_ENDS)


def made_up_words(source: random.Random, n: int) -> list[str]:
    """`n` different words of two or three open syllables, such as "kelo" or "matiru"."""
    found: dict[str, None] = {}  # a set that keeps its order
    while len(found) < n:
        found["".join(source.choices(SYLLABLES, k=source.choice([2, 2, 3])))] = None
    return list(found)
