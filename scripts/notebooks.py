"""Execute and normalise the committed notebooks: `make notebooks`.

    python scripts/notebooks.py            # those whose code changed since they were executed
    python scripts/notebooks.py 03 05      # of these, the ones that are stale
    python scripts/notebooks.py --all      # all, after a change to the style of the figures, say
    python scripts/notebooks.py --check    # change nothing, say which are stale

A notebook is stale when its code cells are not those that made its outputs. The tool keeps a
digest of their sources in the notebook's metadata, so the check needs no kernel. The library is
left out of the digest on purpose: every test run executes all notebooks and compares their
outputs, which sees a change of behaviour, where a digest would call everything stale after the
smallest edit of a docstring.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("notebooks", "solutions")
sys.path.insert(0, str(ROOT))

from scripts.normalise import in_order, normalised  # noqa: E402

# Bars are silent, hashes fixed, and nothing of the user's own set-up is read.
SETTINGS = {
    "CI": "1",
    "PYTHONHASHSEED": "0",
    "TQDM_DISABLE": "1",
    "NO_COLOR": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "0",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
OWN_FOLDERS = ("MINIPEFT_HOME", "IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR")
SECONDS_PER_CELL = 120


def notebook_paths(names: list[str], root: Path = ROOT) -> list[Path]:
    """The committed notebooks, or those whose file name begins with one of `names`."""
    found = [path for folder in FOLDERS for path in sorted((root / folder).glob("*.ipynb"))]
    for name in names:
        if not any(path.name.startswith(Path(name).name) for path in found):
            known = ", ".join(path.name for path in found) or "none"
            raise SystemExit(f"no notebook begins with {name!r}; there are: {known}")
    chosen = tuple(Path(name).name for name in names)
    return [path for path in found if not chosen or path.name.startswith(chosen)]


def code_digest(notebook) -> str:
    """A digest of the code cells' sources, in order."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


def staleness(notebook) -> str | None:
    """Why the notebook must be executed, or None if it need not."""
    if not in_order(notebook):
        return "not every code cell was executed, in order"
    if notebook.metadata.get("minipeft", {}).get("code") != code_digest(notebook):
        return "its code is not the code that made its outputs"
    return None


def executed(notebook):
    """The notebook with fresh outputs, and with the digest and CPU time in its metadata."""
    with tempfile.TemporaryDirectory() as folder:
        # In this process too, since jupyter_client looks here for kernels: no kernel of the
        # user's own may stand in for the one of this environment.
        os.environ |= {name: str(Path(folder, name)) for name in OWN_FOLDERS}
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=SECONDS_PER_CELL,
            record_timing=False,
            store_widget_state=True,
            extra_arguments=["--log-level=ERROR"],
            config=sockets(folder),
            resources={"metadata": {"path": folder}},
        )
        began = _cpu_seconds()
        client.execute(env={**os.environ, **SETTINGS, "PYTHONPATH": path})
        spent = _cpu_seconds() - began
    earlier = notebook.metadata.get("minipeft", {}).get("cpu_seconds")
    notebook.metadata["minipeft"] = {
        "code": code_digest(notebook),
        "cpu_seconds": coarse_seconds(spent, earlier),
    }
    return notebook


def sockets(folder: str) -> Config:
    """Unix sockets where there are any: two kernels that start at once may get the same port."""
    if sys.platform == "win32":
        return Config()
    return Config({"KernelManager": {"transport": "ipc", "ip": str(Path(folder, "socket"))}})


def coarse_seconds(measured: float, earlier: int | None) -> int:
    """CPU time rounded up to a coarse step, or the earlier one where that still describes it."""
    if earlier and 0.4 * earlier <= measured <= 1.6 * earlier:
        return earlier  # so that the commit does not change with the weather
    steps = (10, 20, 30, 40, 60, 90, 120, 180, 240, 300)
    return next((step for step in steps if measured <= step), 60 * round(measured / 60 + 0.5))


def _cpu_seconds() -> float:
    """CPU time of ended child processes; wall time on Windows, which does not count it."""
    times = os.times()
    children = times.children_user + times.children_system
    return time.perf_counter() if sys.platform == "win32" else children


def refresh(path: Path, everything: bool = False, check: bool = False) -> str:
    """Bring one notebook up to date; returns what was (or, with `check`, has to be) done."""
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    reason = "asked to" if everything else staleness(notebook)
    if reason and check:
        return f"stale: {reason}"
    if reason:
        notebook = executed(notebook)
    tidy = nbformat.writes(normalised(notebook)) + "\n"
    if tidy == text:
        return "unchanged" if reason else "fresh"
    if check:
        return "stale: not normalised"
    temporary = path.with_suffix(".ipynb.part")
    temporary.write_text(tidy, encoding="utf-8")
    temporary.replace(path)
    return f"executed ({reason})" if reason else "normalised"


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Execute and normalise the notebooks.")
    parser.add_argument("names", nargs="*", help="beginnings of file names, as in 03")
    parser.add_argument("--all", action="store_true", help="execute the fresh ones too")
    parser.add_argument("--check", action="store_true", help="only say which are stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder above notebooks/")
    options = parser.parse_args(arguments)
    failed = False
    for path in notebook_paths(options.names, options.root):
        try:
            outcome = refresh(path, everything=options.all, check=options.check)
        except CellExecutionError as error:
            outcome = f"FAILED, left as it was\n{error}"
        failed |= outcome.startswith(("stale", "FAILED"))
        print(f"{path.relative_to(options.root).as_posix()}: {outcome}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
