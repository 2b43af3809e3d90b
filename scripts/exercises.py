"""Make exercises/ from solutions/, with nbgrader's own preprocessors: `make exercises`.

    python scripts/exercises.py            # write the exercises
    python scripts/exercises.py --check    # change nothing, say which are stale

The result is, byte for byte, what `nbgrader generate_assignment` makes of a solution with the same
configuration, but needs neither its folders nor its database.
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbgrader import preprocessors
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
STUB = """# YOUR CODE HERE
raise NotImplementedError("Not written yet: put your answer here. Stuck? Two hints are above.")"""
ORDER = (
    preprocessors.LockCells,
    preprocessors.ClearSolutions,
    preprocessors.ClearOutput,
    preprocessors.CheckCellMetadata,
    preprocessors.ComputeChecksums,
    preprocessors.ClearHiddenTests,
    preprocessors.ClearMarkScheme,
    preprocessors.ComputeChecksums,
    preprocessors.CheckCellMetadata,
)


def configuration() -> Config:
    """What nbgrader is told beside its defaults."""
    config = Config()
    config.ClearSolutions.code_stub = {"python": STUB}
    return config


def exercise(solution: str) -> str:
    """The text of the exercise notebook that a solution notebook's text makes."""
    notebook, resources = nbformat.reads(solution, as_version=4), {}
    for preprocessor in ORDER:
        notebook, resources = preprocessor(config=configuration()).preprocess(notebook, resources)
    return nbformat.writes(notebook) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status, 1 where --check finds something stale."""
    parser = argparse.ArgumentParser(description="Make exercises/ from solutions/.")
    parser.add_argument("--check", action="store_true", help="only say which are stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder above solutions/")
    options = parser.parse_args(arguments)
    sources = sorted((options.root / "solutions").glob("*.ipynb"))
    wanted = {path.name: exercise(path.read_text(encoding="utf-8")) for path in sources}
    folder = options.root / "exercises"
    present = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.ipynb")}
    stale = sorted(name for name in {*wanted, *present} if wanted.get(name) != present.get(name))
    for name in stale:
        print(f"exercises/{name}: {'stale' if options.check else 'written'}")
        if options.check:
            continue
        if name in wanted:
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(wanted[name], encoding="utf-8", newline="\n")
        else:
            (folder / name).unlink()  # its solution is gone
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
