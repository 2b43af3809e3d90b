"""What the tests of the notebooks read: files, cells, outputs as text."""

import functools
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "solutions").glob("*.ipynb"))


@functools.cache
def read(path: Path):
    """The notebook in a file; not to be changed."""
    return nbformat.read(path, as_version=4)


def named(path: Path) -> str:
    """How a test calls a notebook."""
    return f"{path.parent.name}/{path.stem}"


def code_cells(notebook) -> list:
    """The code cells that hold code."""
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def markdown(notebook) -> str:
    """All text cells as one text."""
    return "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def code(notebook) -> str:
    """All code cells as one text."""
    return "\n\n".join(cell.source for cell in code_cells(notebook))


def texts(cell) -> list[str]:
    """A cell's outputs as a reader sees them, pictures left out."""
    found = []
    for output in cell.get("outputs", []):
        found += [output[key] for key in ("text", "evalue") if key in output]
        found += output.get("traceback", [])
        found += [t for kind, t in output.get("data", {}).items() if kind.startswith("text/")]
    return found


def pictures(notebook) -> list[dict]:
    """The outputs that are pictures, as (cell id, output)."""
    return [
        (cell.id, output)
        for cell in code_cells(notebook)
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]


def headings(notebook) -> list[str]:
    """The level-2 headings, in order."""
    return re.findall(r"^## +(.+?) *$", markdown(notebook), flags=re.MULTILINE)
