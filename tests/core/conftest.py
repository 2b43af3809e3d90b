"""Settings and fixtures that all tests of the core share."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers and peft are imported

import pytest
import torch
from hypothesis import HealthCheck, settings

from .models import FAMILIES

settings.register_profile(
    "core",
    deadline=None,  # no timing asserts
    derandomize=True,  # the same examples in every run
    database=None,  # and no folder of examples left in the working tree
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def _seeded():
    """One seed for each test, one thread: equal numbers in every run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=sorted(FAMILIES))
def family(request) -> str:
    """One of the model families: llama, gpt2, bert."""
    return request.param
