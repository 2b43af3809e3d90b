"""Lessons as students change them: another seed, cells run twice, every "try it" tried.

They run in an empty folder with the wheel of minipeft alone in reach, and none of the repository's
files: as in Colab, or wherever someone installs minipeft beside what is there.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from scripts.notebooks import sockets
from tests.notebooks.reading import LESSONS, ROOT, named, read

FENCE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
SECONDS_TO_RUN_AGAIN = 1.0  # what takes longer is run once, unless MINIPEFT_SHAKE=all


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with minipeft as its wheel holds it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--no-index", "--quiet", "--wheel-dir", folder, str(ROOT)], check=True
    )
    zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(folder / "site")
    return folder / "site"


def shaken(notebook) -> list:
    """The code of a lesson with another seed, and with the code of its answers, in order."""
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            source = re.sub(r"(\bstart\(.*?seed=)0", r"\g<1>1", cell.source)
            cells.append(new_code_cell(source, id=cell.id, metadata=cell.metadata))
        else:
            tries = FENCE.findall(cell.source)
            cells += [new_code_cell(t, id=f"{cell.id}-try-{i}") for i, t in enumerate(tries)]
    return cells


def run(cells: list, folder, installed) -> None:
    """Run the cells, the quick ones twice; an error names the cell."""
    notebook = new_notebook(cells=cells)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=300,
        resources={"metadata": {"path": str(folder)}},
        config=sockets(tempfile.mkdtemp()),
    )
    everything = os.environ.get("MINIPEFT_SHAKE") == "all"
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "CI": "1", "MINIPEFT_HOME": str(folder)}
    with client.setup_kernel(env=environment):
        for place, cell in enumerate(cells):
            began = time.perf_counter()
            client.execute_cell(cell, place)
            if everything or time.perf_counter() - began < SECONDS_TO_RUN_AGAIN:
                client.execute_cell(cell, place)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", LESSONS, ids=named)
def test_a_changed_lesson_stays_right(path, tmp_path, installed):
    where = f"import minipeft; assert minipeft.__file__.startswith({str(installed)!r})"
    run([new_code_cell(where, id="where"), *shaken(read(path))], tmp_path, installed)


def test_the_shaking_shakes(tmp_path, installed):
    sample = new_notebook(
        cells=[
            new_code_cell("seen = globals().setdefault('seen', []); start = dict", id="a"),
            new_code_cell("start(lesson='0', seed=0); seen.append(start(x='', seed=0))", id="b"),
        ]
    )
    cells = shaken(sample)
    assert "seed=1" in cells[1].source
    check = new_code_cell("assert [s['seed'] for s in seen] == [1, 1], seen", id="c")
    run([*cells, check], tmp_path, installed)
