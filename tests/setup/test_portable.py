"""The variables that make this processor round like an older one reach every process of a run."""

import os
import subprocess
import sys

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests import processor

from .project import ROOT

ASK = "import torch\nprint(torch.backends.cpu.get_cpu_capability())"
TEST = f"""
import os

def test_a_worker(capsys):
    assert "PYTEST_XDIST_WORKER" in os.environ
    exec({ASK!r})
    assert capsys.readouterr().out == "DEFAULT\\n"
"""


@pytest.mark.timeout(300)  # starts workers and a kernel, on a machine that may be busy
def test_they_reach_the_workers_and_the_lessons_kernels(tmp_path):
    (tmp_path / "test_worker.py").write_text(TEST)
    answer = new_output("stream", name="stdout", text="DEFAULT\n")
    cell = new_code_cell(ASK, id="ask", execution_count=1, outputs=[answer])
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "lesson.ipynb")
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--rootdir", "."]
    command += ["-p", "conftest", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile"]
    done = subprocess.run(
        [*command, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"ATEN_CPU_CAPABILITY": "default"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_compiled_code_is_kept_apart_for_each_kind():
    """torch.compile's cache would give code for wide registers to a processor without them."""
    kinds = [{}, {"ATEN_CPU_CAPABILITY": "default"}, {"ATEN_CPU_CAPABILITY": "avx2"}]
    folders = {processor.settings(kind).get("TORCHINDUCTOR_CACHE_DIR") for kind in kinds}
    assert len(folders) == 3 and None in folders


def test_what_the_user_has_set_stays():
    own = {"ATEN_CPU_CAPABILITY": "avx2", "TORCHINDUCTOR_CACHE_DIR": "mine", "OMP_NUM_THREADS": "3"}
    assert set(processor.settings(own)) == {"OMP_WAIT_POLICY"}


def test_one_thread_for_each_worker():
    """Two workers with two threads each would wait for each other on two cores."""
    assert processor.settings({})["OMP_NUM_THREADS"] == "1"
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
    assert os.environ["OMP_WAIT_POLICY"]
