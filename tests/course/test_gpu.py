"""Cells for a GPU: what they say on a machine without one, with a small one, and with room."""

import pytest
import torch

from minipeft.budget import Architecture, memory_budget
from minipeft.course.lessons import gpu
from minipeft.methods.lora import LoraConfig

SMALL = Architecture(
    "decoder",
    vocab_size=96,
    hidden_size=128,
    intermediate_size=192,
    num_hidden_layers=2,
    num_attention_heads=2,
)


@pytest.mark.parametrize(("free", "says"), [(None, "no GPU"), (10**9, "too little")])
def test_declines_after_the_prediction(free, says, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "free_bytes", lambda: free)
    assert gpu.attempt("A step", 2 * 10**9, lambda: pytest.fail("it ran")) is None
    first, second = capsys.readouterr().out.splitlines()
    assert first == "A step: a predicted peak of 2.00 GB = 1.86 GiB"
    assert second.startswith("This machine: ") and says in second


def test_runs_where_there_is_room_and_with_fast_kernels(monkeypatch):
    monkeypatch.setattr(gpu, "free_bytes", lambda: 2 * 10**9)
    torch.use_deterministic_algorithms(True)
    try:
        found = gpu.attempt("A step", 2 * 10**9, torch.are_deterministic_algorithms_enabled)
        assert found is False
        with pytest.raises(ZeroDivisionError):
            gpu.attempt("A step", 1, lambda: 1 / 0)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_free_memory_is_that_of_torch():
    assert (gpu.free_bytes() is None) == (not torch.cuda.is_available())


def test_a_random_qlora_takes_the_bytes_that_are_predicted():
    config = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear")
    options = {"quantization": "nf4_double", "optimizer": "paged_adamw", "dtype": "float32"}
    rows = memory_budget(SMALL, config, length=16, **options).rows
    model = gpu.random_qlora(SMALL, 4, "cpu", torch.float32)
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimizer = gpu.two_steps(model, length=16)
    trained = [p for p in model.parameters() if p.requires_grad]
    frozen = [t for t in (*model.parameters(), *model.buffers()) if not t.requires_grad]
    assert sum(p.nbytes for p in trained) == rows["adapter"]
    assert sum(t.nbytes for t in frozen) == rows["weights"] + rows["quantization constants"]
    states = [t for state in optimizer.state.values() for t in state.values()]
    assert sum(t.nbytes for t in states) == rows["optimizer"]
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in model.named_parameters() if p.requires_grad}


def test_without_a_record_it_says_so():
    assert gpu.recorded("not_there.json") == [gpu.NONE_YET]
