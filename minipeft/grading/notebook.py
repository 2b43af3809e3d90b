"""Takes the cells out of a handed-in notebook, whatever it turns out to be.

The rules, as nbgrader has them: a cell belongs to a task by its `grade_id`; of several cells with
the same one the last counts, and the notebook is run from the top down to it, so what a function
means there is what is graded. A missing cell costs nothing if the function is defined elsewhere.
Cells of checks are not run.
"""

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

LARGEST = 20 << 20  # bytes; an exercise with its outputs has less than one hundredth of it
LARGEST_CODE = 1 << 20  # characters
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # absent on Windows


class Unreadable(ValueError):
    """A submission that is no notebook; the text tells the student why."""


@dataclass(frozen=True)
class Cell:
    """One code cell: its place in the notebook, what it says, and the task that it belongs to."""

    index: int
    source: str
    grade_id: str = ""


def read_cells(path: Path) -> list[Cell]:
    """The code cells that are to be run. Raises Unreadable."""
    try:
        notebook = json.loads(read_plain_file(path, LARGEST).decode("utf-8-sig"))
        cells = notebook["cells"]
        found = [_cell(index, cell) for index, cell in enumerate(cells)]
    except UnicodeDecodeError as error:
        raise Unreadable("the file is not UTF-8 text; save it again from Jupyter") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("the file is not a notebook (not valid JSON)") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreadable("the file is JSON, but not a notebook of version 4") from error
    code = [cell for cell in found if cell is not None]
    if sum(len(cell.source) for cell in code) > LARGEST_CODE:
        raise Unreadable(f"the notebook holds more than {LARGEST_CODE >> 20} MB of code")
    return code


def read_plain_file(path: Path, largest: int) -> bytes:
    """The bytes of a file that is a file: no link, no pipe, no folder, not huge."""
    try:
        if path.is_symlink():
            raise Unreadable("the file is a link, not a notebook")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _NO_LINK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable("there is something that is not a file in the notebook's place")
            if not 0 < status.st_size <= largest:
                size = f"larger than {largest >> 20} MB" if status.st_size else "empty"
                raise Unreadable(f"the file is {size}")
            return file.read(largest)
    except OSError as error:
        what = "is a folder" if isinstance(error, IsADirectoryError) else f"{error.strerror}"
        raise Unreadable(f"the notebook could not be opened ({what})") from error


def cells_for(cells: list[Cell], grade_id: str) -> list[Cell]:
    """The cells to run for one task: all down to the last that carries its id, or all."""
    own = [place for place, cell in enumerate(cells) if cell.grade_id == grade_id]
    return cells[: own[-1] + 1] if own else list(cells)


def _cell(index: int, cell: dict) -> Cell | None:
    """A code cell that is no check; None for every other."""
    about = cell.get("metadata", {}).get("nbgrader", {})
    is_check = about.get("grade") is True and about.get("solution") is not True
    if cell["cell_type"] != "code" or is_check:
        return None
    source = cell["source"]
    grade_id = about.get("grade_id")
    source = "".join([source] if isinstance(source, str) else source)
    return Cell(index, source, grade_id if isinstance(grade_id, str) else "")
