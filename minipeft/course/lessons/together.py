"""Two networks that are to train one adapter, by hand in one process, and how that goes wrong."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from minipeft import LoraConfig, get_peft_model
from minipeft.core.errors import check_choice
from minipeft.course.base import load_base
from minipeft.course.batches import Batch
from minipeft.course.lessons.replica import part_loss

FAULTS = (
    "right",
    "summed",
    "same texts",
    "no all-reduce",
    "averaged at the end",
    "own start",
)
APART = ("no all-reduce", "averaged at the end")  # these share no gradients


def trained(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that a network trains."""
    return [p for p in network.parameters() if p.requires_grad]


def adapter(network: nn.Module) -> Tensor:
    """All that a network trains as one vector."""
    return torch.cat([p.detach().flatten() for p in trained(network)])


def beginners(fault: str, seed: int) -> list[nn.Module]:
    """Two fresh bases with LoRA; all but "own start" draw the same A."""
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
    networks = []
    for number in range(2):
        torch.manual_seed(seed + (number if fault == "own start" else 0))
        networks.append(get_peft_model(load_base()[0], config))
    return networks


def train_together(
    fault: str, batches: list[Batch], optimizer: Callable = torch.optim.AdamW, seed: int = 0
) -> list[nn.Module]:
    """Each network reads its half of each batch; both should make the same step."""
    check_choice("fault", fault, FAULTS)
    networks = beginners(fault, seed)
    optimizers = [optimizer(trained(network), lr=1e-2) for network in networks]
    for batch in batches:
        for number, network in enumerate(networks):
            part_loss(network, batch, 0 if fault == "same texts" else number, 2).backward()
        for p, q in zip(*map(trained, networks), strict=True):
            if fault not in APART:
                mean = (p.grad + q.grad) / (1 if fault == "summed" else 2)
                p.grad, q.grad = mean, mean.clone()
        for own in optimizers:
            own.step()
            own.zero_grad()
    if fault == "averaged at the end":
        with torch.no_grad():
            for p, q in zip(*map(trained, networks), strict=True):
                p.copy_((p + q) / 2)
                q.copy_(p)
    return networks
