"""What the reference part holds: a term, a symbol, a work, each read from a TOML file beside this.

The files are tables by key, in the order of the keys: glossary.toml by term, notation.toml by the
symbol in plain text, bibliography.toml by arXiv number, or by name where there is none.
"""

import functools
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

HERE = Path(__file__).parent
Record = TypeVar("Record")


@dataclass(frozen=True)
class Term:
    """A word of the course.

    Attributes:
        term: the word, as lessons write it.
        meaning: one or two sentences.
        lesson: the first one that says what it means, such as "03".
        symbol: how formulas write it, in plain text, or "".
        peft: Hugging Face peft's name for it, or "".
        also: other forms and words for the same thing.
    """

    term: str
    meaning: str
    lesson: str
    symbol: str = ""
    peft: str = ""
    also: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every word by which it is found."""
        return (self.term, *self.also, *filter(None, [self.peft]))

    def __str__(self) -> str:
        names = {"symbol": self.symbol, "in peft": self.peft, "also": ", ".join(self.also)}
        more = "".join(f"; {what} {name}" for what, name in names.items() if name)
        return f"{self.term} (lesson {self.lesson}{more}): {self.meaning}"


@dataclass(frozen=True)
class Symbol:
    """A sign of the course's formulas.

    Attributes:
        symbol: the sign in plain text, such as "W0".
        meaning: what it stands for wherever nothing else is said.
        lesson: the first one that uses it so.
        latex: the sign as formulas write it, such as "W_0"; "" of a unit, which formulas lack.
        shape: of a matrix or a vector, such as "d_out x d_in", or "".
        unit: what it is counted in, or "".
        elsewhere: {lesson: what it stands for there instead}.
    """

    symbol: str
    meaning: str
    lesson: str
    latex: str = ""
    shape: str = ""
    unit: str = ""
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Every word by which it is found."""
        return (self.symbol, *filter(None, [self.latex]))

    @property
    def otherwise(self) -> str:
        """Where it stands for something else, as a sentence, or ""."""
        told = [f"in lesson {lesson} {meaning}" for lesson, meaning in self.elsewhere.items()]
        return f"But {', '.join(told)}." if told else ""

    def __str__(self) -> str:
        sizes = "".join(f", {size}" for size in (self.shape, self.unit) if size)
        other = f" {self.otherwise}" if self.elsewhere else ""
        return f"{self.symbol}{sizes} (lesson {self.lesson}): {self.meaning}{other}"


@dataclass(frozen=True)
class Work:
    """Something that lessons or exercises cite.

    Attributes:
        key: its arXiv number; without one, name and year, or name and what it is.
        authors: up to three are named, of more the first; of a page or a thread, whose it is.
        title: of a thread, its own or what it is about.
        lessons: those that cite it, exercises included.
        year: by which lessons cite it, or in which a thread was opened; None for pages that change.
        venue: where it appeared, or what it is ("issue", "documentation").
        url: where it is to be read.
        mark: a phrase that cites it where neither number nor address stands, or "".
    """

    key: str
    authors: str
    title: str
    lessons: tuple[str, ...]
    venue: str
    url: str = ""
    year: int | None = None
    mark: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every word by which it is found."""
        return (self.key, self.title)

    @property
    def when(self) -> str:
        """The year in brackets, or nothing."""
        return f" ({self.year})" if self.year else ""

    @property
    def where(self) -> str:
        """Where it appeared, with its arXiv number if it has one."""
        if not self.key[:4].isdigit():
            return self.venue
        number = f"arXiv {self.key}"
        return number if self.venue == "arXiv" else f"{self.venue}, {number}"

    def __str__(self) -> str:
        url = f" {self.url}" if self.url else ""
        lessons = f"lesson{'s' if len(self.lessons) > 1 else ''} {', '.join(self.lessons)}"
        return f"{self.authors}{self.when}, {self.title}. {self.where}, {lessons}.{url}"


@functools.cache
def glossary() -> tuple[Term, ...]:
    """Every term that a lesson introduces, in alphabetical order."""
    return read("glossary.toml", lambda term, **rest: Term(term, **lists_as_tuples(rest)))


@functools.cache
def notation() -> tuple[Symbol, ...]:
    """Every symbol of the course's formulas."""
    return read("notation.toml", Symbol)


@functools.cache
def bibliography() -> tuple[Work, ...]:
    """Every work that a lesson or an exercise cites, by key; an arXiv number is an address, too."""
    return read("bibliography.toml", work_of)


def work_of(key: str, **rest: object) -> Work:
    """A work; what has an arXiv number is read there."""
    if "url" not in rest and key[:4].isdigit():
        rest |= {"url": f"https://arxiv.org/abs/{key}"}
    return Work(key, **lists_as_tuples(rest))


def read(name: str, make: Callable[..., Record]) -> tuple[Record, ...]:
    """The records of one file, in its order; a key that is there twice is an error of TOML."""
    table = tomllib.loads((HERE / name).read_text(encoding="utf-8"))
    return tuple(make(key, **rest) for key, rest in table.items())


def lists_as_tuples(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields of a frozen record."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
