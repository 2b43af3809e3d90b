"""Models on the meta device: shapes and names without numbers.

Everything that finds layers in a real model (targets, heads to save, biases) works on them.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

Parts = Iterable[tuple[str, nn.Module | nn.Parameter]]


class Conv1D(nn.Module):
    """The linear layer of GPT-2, whose weight is stored as (in, out)."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.nf = outputs
        self.weight, self.bias = numbers(inputs, outputs), numbers(outputs)


class MLP(nn.Module):
    """The holder of an MLP's linear layers, whose forward maps one tensor to one tensor."""

    def forward(self, x: Tensor) -> Tensor:
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
