"""Cells that are safe in a spreadsheet: what a student chose never becomes a formula."""

from collections.abc import Sequence

BOM = "\ufeff"  # without it, Excel takes UTF-8 for the local code page
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def safe(cell: object) -> object:
    """The cell, as text behind an apostrophe where a spreadsheet would calculate it."""
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\x00", "").encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if text.startswith(FORMULA) or text.startswith("'") else text


def safe_row(cells: Sequence[object]) -> list[object]:
    """A row of safe cells."""
    return [safe(cell) for cell in cells]


def plain(cell: str) -> str:
    """What `safe` was given."""
    return cell[1:] if cell.startswith("'") else cell
