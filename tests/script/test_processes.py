"""Two processes: DDP and FSDP2 train, save and merge what one process does."""

import pytest
import torch
from safetensors.torch import load_file

import minipeft
from minipeft import PeftModel
from tests.script.processes import METHODS, X, alone, base, free_port, near, worker


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_are_one(tmp_path, name, method):
    torch.multiprocessing.spawn(worker, (free_port(), name, str(tmp_path), method), nprocs=2)
    model = alone(method)
    assert near(PeftModel.from_pretrained(base(), tmp_path)(X), model(X))
    right = minipeft.get_peft_model_state_dict(model)
    assert load_file(tmp_path / "adapter_model.safetensors").keys() == right.keys()
