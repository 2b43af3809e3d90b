"""Open the student's workbook in JupyterLab: `make lab`.

    python scripts/lab.py [--workbook FOLDER] [options of jupyter lab ...]

The settings in scripts/jupyter hide what only instructors need, and the pop-up with news.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts import workbook  # noqa: E402

FIRST = "notebooks/00_start_here.ipynb"
SETTINGS = Path(__file__).parent / "jupyter"


def command(folder: Path, flags: list[str]) -> list[str]:
    """The command line that opens JupyterLab over the workbook, at the first lesson."""
    # Jupyter asks for this word from root, which is who one is in many containers.
    as_root = ["--allow-root"] if hasattr(os, "getuid") and os.getuid() == 0 else []
    lab = [sys.executable, "-m", "jupyter", "lab", FIRST, f"--ServerApp.root_dir={folder}"]
    return [*lab, *as_root, *flags]


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns JupyterLab's exit status."""
    parser = argparse.ArgumentParser(description="Open the workbook in JupyterLab.")
    parser.add_argument("--workbook", type=Path, default=ROOT / "workbook", help="its folder")
    options, flags = parser.parse_known_args(arguments)
    folder = options.workbook.resolve()
    for line in workbook.update(folder):
        print(line, flush=True)
    config = os.pathsep.join(filter(None, [str(SETTINGS), os.environ.get("JUPYTER_CONFIG_PATH")]))
    environment = {**os.environ, "JUPYTER_CONFIG_PATH": config}
    try:
        return subprocess.call(command(folder, flags), cwd=folder, env=environment)
    except KeyboardInterrupt:  # the server has asked, and ended
        return 0


if __name__ == "__main__":
    sys.exit(main())
