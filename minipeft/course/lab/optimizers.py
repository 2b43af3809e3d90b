"""The optimizer of a training run: the check that it can train the model, and its schedule."""

import torch
from torch import nn


def optimizer_for(model: nn.Module, optimizer, learning_rate: float):
    """The optimizer to use, after a check that it will change what is trainable."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        total = sum(p.numel() for p in model.parameters())
        raise ValueError(
            f"nothing to train: all {total:,} parameters of {type(model).__name__} are frozen; "
            "attach an adapter with get_peft_model, or set requires_grad on some of them"
        )
    if optimizer is None:
        return torch.optim.AdamW(trainable.values(), lr=learning_rate, weight_decay=0.0)
    if not isinstance(optimizer, torch.optim.Optimizer):
        return optimizer(list(trainable.values()), lr=learning_rate)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [name for name, p in trainable.items() if id(p) not in held]
    if missing:
        raise ValueError(
            f"the optimizer does not hold {len(missing)} of {len(trainable)} trainable tensors, "
            f"such as {missing[0]!r}; make it after get_peft_model"
        )
    foreign = held - {id(p) for p in model.parameters()}
    if foreign:
        raise ValueError(
            f"the optimizer holds {len(foreign)} tensors that are not in the model; "
            "make it from the parameters of the model that you train"
        )
    return optimizer


class Schedule:
    """Context manager: linear warm-up, then a linear fall to a tenth of each learning rate.

    The optimizer's own learning rates are back in place afterwards, so that it can go on.
    """

    def __init__(self, optimizer, warmup: int, decay: bool):
        self.groups = optimizer.param_groups
        self.peaks = [group["lr"] for group in self.groups]
        self.warmup, self.decay = warmup, decay

    def __enter__(self):
        return self

    def set(self, step: int, done: float) -> None:
        """Set the rates for a step, counted from 0, at a fraction `done` of the whole run."""
        factor = min(1, (step + 1) / max(self.warmup, 1)) * (1 - 0.9 * done if self.decay else 1)
        self._scale(factor)

    def __exit__(self, *error):
        self._scale(1)

    def _scale(self, factor: float) -> None:
        for group, peak in zip(self.groups, self.peaks, strict=True):
            group["lr"] = factor * peak
