"""The local scoreboard: one folder for each entry, its files and its card beside them.

    <the student's folder>/golf/<hole>-<digest>/adapter_config.json, ..., card.json

No two kernels write the same file, so nothing is ever lost, and each write is whole or not at all.
A card is a note. What the board shows is worked out from the entry's own files, every time.
"""

import atexit
import json
import os
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from minipeft.core.disk import atomic_write_all
from minipeft.course.lab.predict import home
from minipeft.course.lab.screen import watched

from .card import Card, score_files, to_json
from .entry import FILES, Refused, read_files
from .holes import HOLES, Hole
from .ranking import ranked, table

CARD = "card.json"
COMPARED = ("numbers", "bytes", "flops", "digest")
NEAR = 0.01  # nats, which processors may differ by


class Scoreboard:
    """All entries that were handed in here.

    folder: by default `golf` in the folder where guesses are kept, `.minipeft` beside the notebook;
    where nobody watches, as in tests, one that this process alone sees.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()

    def add(self, card: Card) -> None:
        """Keep the files of a card, and the card beside them. Raises Refused for spoilt ones."""
        contents = read_files(Path(card.folder))
        place = self.folder / f"{card.hole}-{card.digest}"
        files = {place / name: contents[name] for name in FILES}
        atomic_write_all(files | {place / CARD: to_json(card)})

    def places(self, hole: Hole) -> list[Path]:
        """The folders of a hole's entries, by name."""
        return sorted(path for path in self.folder.glob(f"{hole.name}-*") if path.is_dir())

    def cards(self, hole: Hole) -> list[Card]:
        """The entries of a hole, best first, each scored from its files, without refused ones."""
        found = []
        for place in self.places(hole):
            try:
                found.append(scored(place, hole))
            except Refused:
                continue  # `forged` tells it
        return ranked(found, hole)

    def forged(self, hole: Hole) -> list[str]:
        """One sentence for each entry whose card does not say what its files say."""
        told = []
        for place in self.places(hole):
            try:
                card, noted = scored(place, hole), note_of(place)
            except Refused as error:
                told.append(f"{place.name}: {error}")
                continue
            for key in COMPARED:
                if noted.get(key) != getattr(card, key):
                    told.append(differs(place, key, noted.get(key), getattr(card, key)))
            above = noted.get("above")
            if not isinstance(above, int | float) or not abs(above - card.above) <= NEAR:
                told.append(differs(place, "above", above, round(card.above, 2)))
        return told

    def table(self, hole: Hole) -> str:
        """The ranking of a hole in words."""
        return table(self.cards(hole), hole)


def differs(place: Path, key: str, noted: object, found: object) -> str:
    """What a card says and what the files say."""
    return f"{place.name}: the card says {key} {noted!r}, the files say {found!r}"


def note_of(place: Path) -> dict:
    """The card beside an entry's files; an empty one where it can't be read."""
    try:
        noted = json.loads((place / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def scored(place: Path, hole: Hole) -> Card:
    """The card of a kept entry, from its files; the name alone is the note's."""
    contents = read_files(place, beside=[CARD])
    card = scored_once(tuple(sorted(contents.items())), hole.name)
    name = note_of(place).get("name")
    return replace(card, name=name if isinstance(name, str) else card.name, folder=str(place))


@cache
def scored_once(contents: tuple[tuple[str, bytes], ...], hole: str) -> Card:
    """The card of an entry with these files, from which it follows."""
    return score_files(dict(contents), HOLES[hole])


@cache
def default_folder() -> Path:
    """Where a student's entries are kept; where nobody watches, a folder of this process alone."""
    if watched() or os.environ.get("MINIPEFT_HOME"):
        return home() / "golf"
    folder = tempfile.mkdtemp(prefix="golf")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
