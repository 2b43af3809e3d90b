"""The benchmark of 65 billion weights in 48 GB: the very script, at a tiny size."""

import json
import sys

import pytest
import torch

import minipeft
from benchmarks.models import Place
from benchmarks.qlora_memory import LARGE, ROOM, TINY, only, random_llama, rows
from benchmarks.record import Options, main
from minipeft.quant import Linear4bit

from .bases import DEVICES


@pytest.mark.parametrize("device", DEVICES)
def test_the_script_runs_and_records(tmp_path, monkeypatch, capsys, device):
    out = tmp_path / "results.json"
    threads = str(torch.get_num_threads())
    options = ["--tiny", "--device", device, "--threads", threads, "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["qlora_memory", *options])
    main("qlora_memory", rows, "About.")
    record = json.loads(out.read_text())
    tiny, *large = record["parts"]["qlora_memory"]
    assert 0.7 < tiny["ratio"]["median"] < 1.4  # small things count in so small a model
    assert record["machine"]["device"]
    assert [row["what"].split(", ")[1] for row in large] == ["7B", "13B", "65B"]
    assert "predicted are 41." in capsys.readouterr().out


def test_it_fits_by_arithmetic():
    """Even where no state of the optimizer is paged out."""
    for shape in LARGE:
        budget = shape.budget(torch.bfloat16)
        print(shape.name, budget.table(), sep="\n")
        assert budget.needed_bytes < budget.peak_bytes < ROOM
    weights = 80 * (4 * 8192**2 + 3 * 8192 * 22016)  # in linear layers, all but the head
    bits = 8 * (budget.rows["weights"] + budget.rows["quantization constants"])
    dense = 2 * 32000 * 8192 + 161 * 8192
    assert (bits - 16 * dense) / weights == pytest.approx(4 + 8 / 64 + 32 / (64 * 256), abs=1e-4)
    assert budget.rows["adapter"] == 4 * 64 * 80 * (4 * 2 * 8192 + 3 * (8192 + 22016))


@pytest.mark.parametrize("device", DEVICES)
def test_random_weights_are_four_bits_layer_by_layer(device):
    model = random_llama(TINY.config(), Place(device, torch.bfloat16))
    found = [layer for layer in model.modules() if isinstance(layer, Linear4bit)]
    assert len(found) == 7 * TINY.layers
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    for layer in found:
        assert layer.compute_dtype == torch.bfloat16
        assert layer.dequantize().float().std().item() == pytest.approx(0.02, rel=0.05)
    assert isinstance(model.lm_head, torch.nn.Linear)
    assert model(torch.zeros(1, 3, dtype=torch.long, device=device)).isfinite().all()
    assert minipeft.get_peft_model(model, TINY.lora())


@pytest.mark.gpu
def test_the_room_on_a_gpu_is_real():
    with only(2**30, Options("cuda")):
        torch.empty(2**28, dtype=torch.uint8, device="cuda")
        with pytest.raises(torch.cuda.OutOfMemoryError):
            torch.empty(2**31, dtype=torch.uint8, device="cuda")
    torch.empty(2**31, dtype=torch.uint8, device="cuda")
