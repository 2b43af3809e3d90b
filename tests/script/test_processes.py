"""Two processes: DDP and FSDP2 train, save and merge what one process does."""

import pytest
import torch
from safetensors.torch import load_file
from torch.multiprocessing import ProcessExitedException

import minipeft
from minipeft import PeftModel
from tests.script.processes import METHODS, X, alone, base, free_port, near, worker


def both(*arguments: object, attempts: int = 3) -> None:
    """Run two workers. What one of them asserts fails at once; a crash is tried again.

    Under FSDP2 with DoRA gloo's process sometimes dies of SIGABRT ("double free", "terminate called
    without an active exception"), in PyTorch's own threads: no line of Python has failed then.
    """
    for left in reversed(range(attempts)):
        try:
            torch.multiprocessing.spawn(worker, (free_port(), *arguments), nprocs=2)
            return
        except ProcessExitedException as crash:
            if not left or crash.signal_name != "SIGABRT":
                raise


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_are_one(tmp_path, name, method):
    both(name, str(tmp_path), method)
    model = alone(method)
    assert near(PeftModel.from_pretrained(base(), tmp_path)(X), model(X))
    right = minipeft.get_peft_model_state_dict(model)
    assert load_file(tmp_path / "adapter_model.safetensors").keys() == right.keys()
