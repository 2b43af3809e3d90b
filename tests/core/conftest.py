"""What all tests of the core share (seeds, threads and no network: tests/conftest.py)."""

import pytest

from .models import FAMILIES


@pytest.fixture(params=sorted(FAMILIES))
def family(request) -> str:
    """One of the model families: bert, gpt2, llama."""
    return request.param
