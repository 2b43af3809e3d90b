"""What all tests of the core share (seeds and no network: tests/conftest.py)."""

import pytest
import torch

from .models import FAMILIES


@pytest.fixture(autouse=True)
def _one_thread():
    """The models are so small that threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=sorted(FAMILIES))
def family(request) -> str:
    """One of the model families: bert, gpt2, llama."""
    return request.param
