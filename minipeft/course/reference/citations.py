"""What a notebook cites, and where it and the bibliography disagree."""

import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .records import Work, bibliography

ARXIV = re.compile(r"(?<![\d.])\d\d(?:0[1-9]|1[0-2])\.\d{5}(?!\d)")
ADDRESS = re.compile(r"https?://[^\s)\]>\"'`]+")
NAME = r"(?<!\w)[A-Z][\w’'-]+(?: [A-Z][\w’'-]+)*"
OTHERS = re.compile(r"(?:et al\.|and others)(?:,? \(?((?:19|20)\d\d))?")
NAME_BEFORE = re.compile(rf"({NAME}) $")
YEAR = re.compile(r",? \(?((?:19|20)\d\d)[ab]?\b(?!\.\d)")
NAMES_BEFORE = re.compile(rf"({NAME}(?:(?:,| and|, and) {NAME})*)$")
REACH = 80  # letters before a year in which its authors are looked for
THREAD = re.compile(r"\b(?:issues?|pull requests?) \[?(\d{2,6})\b")
REFERENCES = re.compile(r"^## References\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)
MONTHS = "January February March April May June July August September October November December"


@dataclass(frozen=True)
class Mention:
    """Words that look like a citation, with the name, the year or the number by which they tell it.

    kind: "number" (of arXiv), "address", "thread", "others" (a name and others), "year" (names and
    a year), or "listed" (an entry of a list of references).
    """

    kind: str
    words: str
    name: str = ""
    year: int | None = None

    def fits(self, work: Work) -> bool:
        """Whether this can be a citation of the work."""
        if self.kind == "number":
            return self.words == work.key
        if self.kind == "address":
            return leads_to(self.words, work)
        if self.kind == "thread":
            return work.url.endswith(f"/{self.name}")
        if self.kind == "listed":
            return cited_by(work, self.words)
        if self.year not in (None, work.year):
            return False
        if self.kind == "others":
            return ends_with_one_of(self.name, surnames(work)[:1])
        first = re.split(r",? and |, ", self.name)[0]
        return self.name in work.title or ends_with_one_of(first, surnames(work))


def prose(notebook: Path) -> str:
    """All text cells of a notebook file, its Markdown's stars left out."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return text.replace("*", "")


def lesson_texts(*folders: Path) -> dict[str, str]:
    """{"03": all prose of lesson 03 and of its exercise} of the notebooks in these folders."""
    texts: dict[str, str] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))):
        texts[path.name[:2]] = "\n\n".join(filter(None, [texts.get(path.name[:2]), prose(path)]))
    return texts


def cited_by(work: Work, text: str) -> bool:
    """Whether a text has a work's arXiv number, its address, or its mark."""
    if work.key in numbers(text) or any(leads_to(address, work) for address in addresses(text)):
        return True
    return bool(work.mark) and work.mark in text


@functools.lru_cache(maxsize=1024)
def numbers(text: str) -> frozenset[str]:
    """Every arXiv number."""
    return frozenset(ARXIV.findall(text))


@functools.lru_cache(maxsize=1024)
def addresses(text: str) -> frozenset[str]:
    """Every address on the web, without the full stop after it."""
    return frozenset(address.rstrip(".,;") for address in ADDRESS.findall(text))


def leads_to(address: str, work: Work) -> bool:
    """Whether an address is a work's own or of a page below it."""
    home = work.url.rstrip("/")
    return bool(home) and (address.rstrip("/") == home or address.startswith(f"{home}/"))


@functools.lru_cache(maxsize=256)
def mentions(text: str) -> tuple[Mention, ...]:
    """Everything in a text that looks like a citation."""
    flat = " ".join(text.split())
    found = [Mention("number", number) for number in sorted(numbers(text))]
    found += [Mention("address", address) for address in sorted(addresses(text))]
    found += [Mention("thread", m[0], m[1]) for m in THREAD.finditer(flat)]
    found += [Mention("listed", part) for part in listed(text)]
    for kind, after, before in ("others", OTHERS, NAME_BEFORE), ("year", YEAR, NAMES_BEFORE):
        for end in after.finditer(flat):
            names = before.search(flat[max(0, end.start() - REACH) : end.start()])
            if names and names[1].split()[-1] not in MONTHS.split():
                year = int(end[1]) if end[1] else None
                found.append(Mention(kind, names[0] + end[0], names[1], year))
    return tuple(found)


def ends_with_one_of(name: str, surnames: Iterable[str]) -> bool:
    """Whether a name, after words that a sentence may put before it, is one of these."""
    return any(f" {name}".endswith(f" {surname}") for surname in surnames)


def surnames(work: Work) -> list[str]:
    """The authors without their initials."""
    return [author.split(". ")[-1] for author in re.split(r", | and ", work.authors)]


def listed(text: str) -> list[str]:
    """The entries of lists of references, and those after "Source:", one work or a few each."""
    joined = re.sub(r"\n +", " ", "\n".join(REFERENCES.findall(text)))  # one entry, one line
    lines = [line[2:] for line in joined.splitlines() if line.startswith("- ")]
    sources = re.findall(r"^Sources?: (.*)$", text, flags=re.MULTILINE)
    return [part.strip() for entry in lines + sources for part in entry.split(";")]


def disagreements(texts: Mapping[str, str], works: Iterable[Work] | None = None) -> list[str]:
    """Where lessons and bibliography disagree, a sentence each; none is how it should be.

    Args:
        texts: {"03": the prose of a lesson and of its exercise}, as `lesson_texts` reads it.
        works: the bibliography, or another one.
    """
    works, wrong = tuple(bibliography() if works is None else works), []
    for work in works:
        citing = tuple(sorted(lesson for lesson, text in texts.items() if cited_by(work, text)))
        if citing != work.lessons:
            wrong.append(f"{work.key}: names lessons {work.lessons}, and {citing} cite it")
    for lesson, text in texts.items():
        own = [work for work in works if lesson in work.lessons]
        unknown = [m.words for m in mentions(text) if not any(m.fits(work) for work in own)]
        wrong += [f"lesson {lesson} cites {words!r}, which is not listed" for words in unknown]
    return wrong
