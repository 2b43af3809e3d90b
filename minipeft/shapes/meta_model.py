"""Models on the meta device: shapes and names without numbers.

Everything that finds layers in a real model (targets, heads to save, biases) works on them, and an
adapter is built on them in milliseconds.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from minipeft.core.adapter import Adapter
from minipeft.core.config import PeftConfig
from minipeft.models.checkpoint import WithoutInitialization

Parts = Iterable[tuple[str, nn.Module | nn.Parameter]]


class Conv1D(nn.Module):
    """The linear layer of GPT-2, whose weight is stored as (in, out)."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.nf = outputs
        self.weight, self.bias = numbers(inputs, outputs), numbers(outputs)


class MLP(nn.Module):
    """The holder of an MLP's linear layers, which maps one tensor to one tensor."""

    def forward(self, x: Tensor) -> Tensor:
        """Raises NotImplementedError: it has shapes alone."""
        raise NotImplementedError


def numbers(*shape: int) -> nn.Parameter:
    """A parameter on the meta device."""
    return nn.Parameter(torch.empty(shape, device="meta"))


def linear(outputs: int, inputs: int, bias: bool = True) -> nn.Linear:
    """A linear layer, weight (out, in)."""
    return nn.Linear(inputs, outputs, bias, device="meta")


MAKERS: dict[str, Callable[..., nn.Module | nn.Parameter]] = {  # the words of the tables
    "numbers": numbers,
    "linear": linear,
    "conv1d": Conv1D,
    "embedding": partial(nn.Embedding, device="meta"),
    "layer_norm": partial(nn.LayerNorm, device="meta"),
    "rms_norm": partial(nn.RMSNorm, device="meta"),
    "convolution": lambda c, d, k, groups=1: nn.Conv1d(c, d, k, groups=groups, device="meta"),
    "picture": partial(nn.Conv2d, device="meta"),
    "bias_of": lambda made: list(made.values())[-1].bias,  # of the module made last
}


class MetaModel(nn.Module):
    """The modules of a model by dotted name; it has shapes alone and can't be run.

    config: the model's sizes. words, output: the names of its embedding and of the layer that
    makes logits, if any.
    """

    def __init__(self, parts: Parts, config: object, words: str, output: str | None) -> None:
        super().__init__()
        self.config, self.words, self.output = config, words, output
        for path, part in parts:
            owner, _, name = path.rpartition(".")
            setattr(self.inside(owner), name, part)

    def inside(self, path: str) -> nn.Module:
        """The module of this name; holders that are missing on the way are made."""
        module, names = self, path.split(".") if path else []
        for place, name in enumerate(names):
            if name not in module._modules:
                numbered = "".join(names[place + 1 : place + 2]).isdigit()
                other = MLP if name in ("mlp", "DenseReluDense") else nn.Module
                module.add_module(name, nn.ModuleList() if numbered else other())
            module = module._modules[name]
        return module

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: object = None,
    ) -> Tensor:
        """The arguments that a soft prompt looks for. Raises NotImplementedError."""
        raise NotImplementedError(f"{self.config.model_type} is a table of shapes")

    def get_input_embeddings(self) -> nn.Module:
        """The table of the words' vectors."""
        return self.get_submodule(self.words)

    def get_output_embeddings(self) -> nn.Module | None:
        """The layer that makes logits of the last hidden states."""
        return self.get_submodule(self.output) if self.output else None


class Construction(WithoutInitialization):
    """Within it, an adapter is built without numbers: boolean masks keep everything."""

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run one of torch's functions."""
        if function is Tensor.all and args[0].is_meta:
            return True
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


def meta_adapter(
    model: nn.Module,
    config: PeftConfig,
    tensors: dict[str, Tensor] | None = None,
    kind: type[Adapter] = Adapter,
) -> Adapter:
    """The adapter of a config on a model of the meta device. Raises as Adapter does.

    A soft prompt on an encoder-decoder can be counted, though it can't be attached to a real one:
    peft has n virtual tokens for each of the two stacks, or one prefix.
    """
    adapter = bare_adapter(model, config, tensors, kind)
    takes = None if adapter.prompt is None else adapter.prompt.takes
    if config.task_type == "SEQ_2_SEQ_LM" and takes == "inputs_embeds":
        config = replace(config, num_virtual_tokens=2 * config.num_virtual_tokens)
        adapter = bare_adapter(model, config, tensors, kind)
    for module in beside_base(adapter):
        for owner in module.modules():
            for name, buffer in owner.named_buffers(recurse=False):
                if buffer.dtype == torch.bool:  # a mask is read to write the file
                    setattr(owner, name, torch.ones(buffer.shape, dtype=torch.bool, device="cpu"))
    return adapter


def bare_adapter(
    model: nn.Module, config: PeftConfig, tensors: dict[str, Tensor] | None, kind: type[Adapter]
) -> Adapter:
    """The adapter, for which the model passes as a single stack."""
    shape = getattr(model, "config", None)
    two_stacks = getattr(shape, "is_encoder_decoder", False)
    try:
        if two_stacks:
            shape.is_encoder_decoder = False
        with torch.device("meta"), Construction():
            return kind(model, config, tensors)
    finally:
        if two_stacks:
            shape.is_encoder_decoder = True


def beside_base(adapter: Adapter) -> list[nn.Module]:
    """The modules that the method itself makes."""
    made = [*adapter.tuners.values(), adapter.prompt, adapter.shared]
    return [module for module in made if module is not None]
