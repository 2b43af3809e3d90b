"""Takes the cells out of a handed-in notebook, whatever it turns out to be.

The rules, as nbgrader has them: a cell belongs to a task by its `grade_id`; of several cells with
the same one the last counts. The whole notebook is run before a task is judged, so a helper may
stand anywhere. A missing cell costs nothing if the function is defined elsewhere. Cells of checks
are not run. Outputs are not looked at, so they do not count towards any size.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LARGEST = 256 << 20  # bytes of the file, outputs and pictures included
LARGEST_CODE = 1 << 20  # characters of all code cells
MOST_CELLS = 2_000


class Unreadable(ValueError):
    """A submission that is no notebook; the text tells the student why."""


@dataclass(frozen=True)
class Cell:
    """One code cell: its place in the notebook, what it says, and the task that it belongs to."""

    index: int
    source: str
    grade_id: str = ""


@dataclass(frozen=True)
class Notebook:
    """What a submission says: its code, and its cells of text by their grade_id."""

    cells: list[Cell]
    texts: Mapping[str, str] = field(default_factory=dict)

    def own(self, grade_id: str) -> list[int]:
        """The indices of a task's own cells."""
        return [cell.index for cell in self.cells if cell.grade_id == grade_id]

    def down_to(self, grade_id: str) -> list[int]:
        """The indices of all cells down to the last that carries an id; all where none does."""
        own = self.own(grade_id)
        return [cell.index for cell in self.cells if not own or cell.index <= own[-1]]

    def says(self, word: str) -> bool:
        """Whether any cell contains a word."""
        return any(word in cell.source for cell in self.cells)


def read(data: bytes) -> Notebook:
    """The cells of a notebook's bytes. Raises Unreadable."""
    try:
        entries = json.loads(data.decode("utf-8-sig"))["cells"]
        if len(entries) > 4 * MOST_CELLS:
            raise Unreadable(f"the notebook has {len(entries)} cells; {4 * MOST_CELLS} are allowed")
        code = [_code(index, entry) for index, entry in enumerate(entries)]
        texts = dict(_texts(entries))
    except UnicodeDecodeError as error:
        raise Unreadable("the file is not UTF-8 text; save it again from Jupyter") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("the file is not a notebook (not valid JSON)") from error
    except (KeyError, TypeError, AttributeError, MemoryError) as error:
        raise Unreadable("the file is JSON, but not a notebook of version 4") from error
    cells = [cell for cell in code if cell is not None and cell.source.strip()]
    if len(cells) > MOST_CELLS:
        raise Unreadable(f"the notebook has {len(cells)} cells of code; {MOST_CELLS} are allowed")
    if sum(len(cell.source) for cell in cells) > LARGEST_CODE:
        raise Unreadable(f"the notebook holds more than {LARGEST_CODE >> 20} MB of code")
    return Notebook(cells, texts)


def grade_ids(data: bytes) -> set[str]:
    """The grade_ids in a notebook's bytes; none where it is no notebook."""
    try:
        entries = json.loads(data.decode("utf-8-sig"))["cells"]
        return {about["grade_id"] for about in map(_about, entries) if "grade_id" in about}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError):
        return set()


def _about(entry: dict) -> dict:
    about = entry.get("metadata", {}).get("nbgrader", {})
    return about if isinstance(about, dict) and isinstance(about.get("grade_id", ""), str) else {}


def _code(index: int, entry: dict) -> Cell | None:
    """A code cell that is no check; None for every other."""
    about = _about(entry)
    is_check = about.get("grade") is True and about.get("solution") is not True
    if entry["cell_type"] != "code" or is_check:
        return None
    return Cell(index, _source(entry), about.get("grade_id", ""))


def _texts(entries: list[dict]) -> Iterable[tuple[str, str]]:
    """(grade_id, text) of every cell that may hold an answer in words, in whatever type of cell."""
    for entry in entries:
        about = _about(entry)
        if about.get("solution") is True and "grade_id" in about:
            yield about["grade_id"], _source(entry)


def _source(entry: dict) -> str:
    source = entry["source"]
    text = "".join([source] if isinstance(source, str) else source)
    # half of a surrogate pair is no text: neither Python nor a page can hold it
    return text.encode("utf-8", "replace").decode("utf-8")
