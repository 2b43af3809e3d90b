"""LoRA+: B learns faster than A, at lr_B = ratio * lr_A.

Hayou et al. 2024, "LoRA+: Efficient Low Rank Adaptation of Large Models": the wider the model, the
less A and B can both learn well at one rate; in its experiments a ratio of about 16 does.
Trained: what the adapter trains anyway. All there is to it is an optimizer's parameter groups.
"""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from minipeft.core.errors import check_number


def create_loraplus_optimizer(
    model: nn.Module,
    optimizer_cls: type[Optimizer],
    *,
    lr: float,
    loraplus_lr_ratio: float,
    loraplus_weight_decay: float = 0.0,
    loraplus_lr_embedding: float = 1e-6,
    **options: Any,
) -> Optimizer:
    """An optimizer over what `model` trains, in peft's groups:

    1. at lr: A, and whatever else has two dimensions (a head that is trained and saved);
    2. at loraplus_lr_embedding: adapters on embeddings, of which there are none here;
    3. at lr * loraplus_lr_ratio: B, and vectors (DoRA's magnitude, RMS norms);
    4. at the same rate, and without weight decay: biases and layer norms.

    options: the optimizer's own. Raises ValueError for a rate that isn't above 0, and for a model
    that trains no lora_B.
    """
    for name, rate in {"lr": lr, "loraplus_lr_ratio": loraplus_lr_ratio}.items():
        check_number(name, rate)
        if rate <= 0:
            usual = 16 if name == "loraplus_lr_ratio" else 1e-4
            raise ValueError(f"{name}={rate!r} must be above 0, say {usual}")
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if not any("lora_B" in name for name in trained):
        raise ValueError(
            f"{type(model).__name__} trains no lora_B, which is what LoRA+ speeds up; attach a "
            "LoraConfig's adapter first, or use the optimizer itself"
        )
    slow, fast, spared = split(model, trained)
    decay, faster = loraplus_weight_decay, lr * loraplus_lr_ratio
    groups = [
        {"params": slow, "lr": lr, "weight_decay": decay},
        {"params": [], "lr": loraplus_lr_embedding, "weight_decay": decay},
        {"params": fast, "lr": faster, "weight_decay": decay},
        {"params": spared, "lr": faster, "weight_decay": 0.0},
    ]
    return optimizer_cls(groups, lr=lr, **options)


def split(
    model: nn.Module, trained: dict[str, nn.Parameter]
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """What learns at lr, what learns faster, and what does so without weight decay."""
    normed = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.LayerNorm)
        for parameter in module.parameters()
    }
    slow, fast, spared = [], [], []
    for name, parameter in trained.items():
        if "lora_B" not in name and parameter.ndim != 1:
            slow.append(parameter)
        elif "bias" in name or id(parameter) in normed:
            spared.append(parameter)
        else:
            fast.append(parameter)
    return slow, fast, spared
