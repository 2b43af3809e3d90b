import random
import re

import numpy as np
import pytest
import torch

from minipeft.course import start


@pytest.fixture(autouse=True)
def as_it_was():
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_same_seed_same_numbers():
    start("03", seed=5)
    first = draw()
    start("03", seed=5)
    assert draw() == first
    start("03", seed=6)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_one_line_the_same_everywhere(capsys):
    machine = start("03", seed=1)
    assert capsys.readouterr().out == "Lesson 03 · seed 1 · cpu · 1 thread\n"
    assert machine.device == torch.device("cpu")
    assert torch.get_num_threads() == machine.threads == 1
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_falls_back_and_says_so(capsys):
    assert start("11", device="cuda").device.type == "cpu"
    assert "no GPU here" in capsys.readouterr().out


def test_description_is_skipped_by_nbval(capsys):
    machine = start("00")
    capsys.readouterr()
    machine.describe()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(re.match("This machine: ", line) for line in lines)
    assert machine.cpu_count >= 1
    assert machine.memory_bytes is None or machine.memory_bytes > 2**28


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"device": "gpu"}, "'gpu'.*cuda"), ({"seed": -1}, "seed=-1"), ({"threads": 0}, "threads=0")],
)
def test_bad_input(wrong, says, capsys):
    with pytest.raises(ValueError, match=says):
        start("03", **wrong)
    assert capsys.readouterr().out == ""
