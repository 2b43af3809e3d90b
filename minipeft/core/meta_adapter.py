"""Models and adapters on the meta device: shapes without numbers, made in milliseconds.

What is counted, budgeted or inspected is the adapter itself, built there.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from minipeft.core.adapter import Adapter
from minipeft.core.config import PeftConfig
from minipeft.core.modules import WithoutInitialization

# What is asked of numbers that aren't there: no mask hides anything, and nothing is infinite.
KNOWN = {torch.all: True, Tensor.all: True, torch.any: False, Tensor.any: False}


class WithoutNumbers(WithoutInitialization):
    """Within it, adapters are built and models run on the meta device, as KNOWN says."""

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run one of torch's functions."""
        if function in KNOWN and len(args) == 1 and not kwargs and args[0].is_meta:
            return torch.tensor(KNOWN[function], device="cpu")
        return super().__torch_function__(function, types, args, kwargs)


def meta_copy(model: nn.Module) -> nn.Module:
    """A copy of the model on the meta device; parameters that modules share stay shared."""
    memo: dict[int, Tensor] = {}
    for parameter in model.parameters():
        empty = torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")
        memo[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)


def meta_adapter(model: nn.Module, config: PeftConfig, new: bool = True) -> Adapter:
    """The adapter of a config on a model of the meta device. Options and errors are Adapter's.

    A soft prompt on an encoder-decoder can be counted, though it can't be attached to a real one:
    peft has n virtual tokens for each of the two stacks, or one prefix.
    """
    adapter = bare_adapter(model, config, new)
    takes = None if adapter.prompt is None else adapter.prompt.takes
    if config.task_type == "SEQ_2_SEQ_LM" and takes == "inputs_embeds":
        config = replace(config, num_virtual_tokens=2 * config.num_virtual_tokens)
        adapter = bare_adapter(model, config, new)
    for module in beside_base(adapter):
        for owner in module.modules():
            for name, buffer in owner.named_buffers(recurse=False):
                if buffer.dtype == torch.bool:  # a mask is read to write a file
                    setattr(owner, name, torch.ones(buffer.shape, dtype=torch.bool, device="cpu"))
    return adapter


def bare_adapter(model: nn.Module, config: PeftConfig, new: bool) -> Adapter:
    """The adapter, for which the model passes as a single stack."""
    shape = getattr(model, "config", None)
    two_stacks = getattr(shape, "is_encoder_decoder", False)
    try:
        if two_stacks:
            shape.is_encoder_decoder = False
        with torch.device("meta"), WithoutNumbers():
            return Adapter(model, config, new)
    finally:
        if two_stacks:
            shape.is_encoder_decoder = True


def beside_base(adapter: Adapter) -> list[nn.Module]:
    """The modules that the method itself makes."""
    made = [*adapter.tuners.values(), adapter.prompt, adapter.shared]
    return [module for module in made if module is not None]
