"""What holds for every test: no network, one seed, a fixed number of threads."""

import os
import random
import sys
from pathlib import Path

OFFLINE = Path(__file__).parent / "offline"

# Set before transformers is imported, and inherited by kernels and every other child.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(OFFLINE), *filter(None, [os.environ.get("PYTHONPATH")])]
)
os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "0"}
# The models are so small that a second thread costs more than it brings.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
# Lessons ask for two threads. Where two run at once, threads that spin while waiting cost 20x.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if sys.path[0] != str(OFFLINE):
    sys.path.insert(0, str(OFFLINE))

import numpy as np
import offline_guard
import pytest
import torch
from hypothesis import settings

offline_guard.block()
settings.register_profile("tests", derandomize=True, deadline=None, database=None)
settings.load_profile("tests")


def pytest_configure(config):
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Seed every generator, and allow loopback to the tests that talk to a server or a kernel."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("this machine has no NVIDIA GPU")
    is_notebook_cell = not isinstance(item, pytest.Function)
    offline_guard.loopback_allowed = is_notebook_cell or bool(item.get_closest_marker("browser"))
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
