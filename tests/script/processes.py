"""What each of two processes does under DDP and FSDP2; spawned, so a module of its own."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import minipeft
from minipeft import LoraConfig, PeftModel, get_peft_model

METHODS = {
    "LoRA": LoraConfig(target_modules=["0", "2"], r=2, init_lora_weights=False, bias="all"),
    "DoRA": LoraConfig(target_modules=["0", "2"], r=2, init_lora_weights=False, use_dora=True),
    "VeRA": minipeft.VeraConfig(target_modules=["0", "2"], r=4, init_weights=False),
}
X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


def base() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4))


def adapted(method: str) -> PeftModel:
    model = base()
    torch.manual_seed(1)
    return get_peft_model(model, METHODS[method])


def step(model: nn.Module, x: torch.Tensor) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    model(x).square().mean().backward()
    optimizer.step()


def alone(method: str) -> PeftModel:
    """What training on the whole batch in one process gives."""
    model = adapted(method)
    step(model, X)
    return model.eval()


def near(found: torch.Tensor, right: torch.Tensor) -> bool:
    return bool((found - right).norm() <= 1e-5 * right.norm())


def ddp(rank: int, folder: str, method: str) -> None:
    model = DistributedDataParallel(adapted(method))
    step(model, X.chunk(2)[rank])
    model.module.save_pretrained(folder, is_main_process=rank == 0)


def fsdp(rank: int, folder: str, method: str) -> None:
    model = adapted(method)
    fully_shard(model)
    step(model, X.chunk(2)[rank])
    model.save_pretrained(folder, is_main_process=rank == 0)
    right = alone(method)
    with torch.no_grad():
        state = minipeft.get_peft_model_state_dict(model)
        assert all(near(t, minipeft.get_peft_model_state_dict(right)[n]) for n, t in state.items())
        minipeft.set_peft_model_state_dict(model, state)  # into each one's part
        expected = right(X)
        model.eval()
        assert near(model(X), expected)
        if METHODS[method].bias != "none":  # trained in place: they can't be set back
            with pytest.raises(RuntimeError, match="FSDP2 holds the trained bias"):
                model.unload()
        model.merge_adapter(safe_merge=True)
        assert near(model(X), expected)
        model.unmerge_adapter()
        assert near(model(X), expected)
        plain = model.merge_and_unload()
        whole = {name: tensor.full_tensor() for name, tensor in plain.state_dict().items()}
        assert whole.keys() == base().state_dict().keys()
        again = base()
        again.load_state_dict(whole)
        assert near(again(X), expected)


def worker(rank: int, port: int, name: str, folder: str, method: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        {"ddp": ddp, "fsdp": fsdp}[name](rank, folder, method)
        dist.barrier()  # neither leaves while the other still sends
    finally:
        dist.destroy_process_group()
    # FSDP2's device mesh keeps gloo's threads alive. The interpreter's end would stop one
    # that drops a tensor, and C++ then aborts (github.com/pytorch/pytorch/pull/179291).
    os._exit(0)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]
