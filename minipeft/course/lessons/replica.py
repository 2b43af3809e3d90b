"""One of several processes that train one model together, as torchrun starts them."""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from minipeft import LoraConfig, get_peft_model, quantize_model
from minipeft.core.errors import check_choice
from minipeft.course.base import load_base
from minipeft.course.batches import Batch, count_predictions
from minipeft.course.lab.train import token_losses
from minipeft.course.lessons.wire import Traffic, held
from minipeft.course.tasks import task
from minipeft.models.llama import DecoderLayer


def beginner(method: str) -> nn.Module:
    """A fresh base in 64 bits with LoRA on it; "full" has no adapter, "qlora" a base of 4 bits."""
    check_choice("method", method, ["full", "lora", "qlora"])
    torch.manual_seed(0)  # every process draws the same A
    base, _ = load_base()
    if method == "full":
        return base.double()
    if method == "qlora":
        base = quantize_model(base)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
    return get_peft_model(base.double(), config)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The transformer blocks of a model, first to last."""
    return [module for module in model.modules() if isinstance(module, DecoderLayer)]


def part_loss(model: nn.Module, batch: Batch, number: int, processes: int) -> Tensor:
    """A process's part of the batch's mean loss, times the number of processes."""
    part = (rows[number::processes] for rows in batch)
    total, _ = token_losses(model, *part)
    return processes * total / count_predictions([batch])


def train(layout: str, method: str, folder: Path) -> dict:
    """Train for three steps, save, and return what travelled in the last of them."""
    check_choice("layout", layout, ["DDP", "FSDP2"])
    number, processes = dist.get_rank(), dist.get_world_size()
    model = wrapped = beginner(method)
    if layout == "DDP":
        wrapped = DistributedDataParallel(model)
    else:
        for part in (*blocks_of(model), model):
            fully_shard(part)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for batch in task("instruction", batch_size=8, batches=3, test_batches=1).train:
        with Traffic() as traffic:
            part_loss(wrapped, batch, number, processes).backward()
        optimizer.step()
        optimizer.zero_grad()
    if method != "full":  # every process calls it, and one of them writes
        model.save_pretrained(folder / f"{layout} {method}", is_main_process=number == 0)
    return {"handed": traffic.handed, "arrived": traffic.arrived, "held": held(model)}


def main(folder: str, *settings: str) -> None:
    """settings: layout and method, as in "DDP lora" or "FSDP2 qlora"."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=100))
    found = {setting: train(*setting.split(), Path(folder)) for setting in settings}
    if dist.get_rank() == 0:
        Path(folder, "found.json").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()  # no process leaves while another still sends
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
    # FSDP2's device mesh keeps gloo's threads alive. The interpreter's end would stop one
    # that drops a tensor, and C++ then aborts (github.com/pytorch/pytorch/pull/179291).
    os._exit(0)
