"""A model without numbers: modules with shapes and names, on the meta device, which holds no data.

Everything that finds layers in a real model (targets, heads to save, biases) works on it.
"""

from collections.abc import Iterable

import torch
from torch import nn

Parts = Iterable[tuple[str, nn.Module | nn.Parameter]]


class Conv1D(nn.Module):
    """GPT-2's linear layer: its weight is stored as (in, out)."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.nf = outputs
        self.weight, self.bias = numbers(inputs, outputs), numbers(outputs)


class MLP(nn.Module):
    """What holds the linear layers of an MLP; alone among holders it turns x into one output."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A model without numbers can't be run."""
        raise NotImplementedError


class RMSNorm(nn.Module):
    """A norm with one weight for each channel and no bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = numbers(dim)


def numbers(*shape: int) -> nn.Parameter:
    """A parameter that has a shape alone."""
    return nn.Parameter(torch.empty(shape, device="meta"))


def linear(outputs: int, inputs: int, bias: bool = True) -> nn.Linear:
    """A linear layer, weight (out, in)."""
    return nn.Linear(inputs, outputs, bias, device="meta")


def embedding(rows: int, dim: int) -> nn.Embedding:
    """A table of vectors, weight (rows, dim)."""
    return nn.Embedding(rows, dim, _weight=numbers(rows, dim))


def layer_norm(dim: int) -> nn.LayerNorm:
    """A norm with a weight and a bias for each channel."""
    return nn.LayerNorm(dim, device="meta")


def tied(layer: nn.Linear, table: nn.Embedding) -> nn.Linear:
    """The layer, reading the table's own weight."""
    layer.weight = table.weight
    return layer


class MetaModel(nn.Module):
    """The modules of a model by dotted name; `config` has its sizes, as a transformers model's.

    words, output: the names of its embedding and of the layer that makes logits, if any.
    canonical: whether the layers' matrices go by canonical names.
    """

    def __init__(
        self, parts: Parts, config: object, words: str, output: str | None, canonical: bool
    ) -> None:
        super().__init__()
        self.config, self.words, self.output = config, words, output
        self.canonical = canonical
        for path, part in parts:
            owner, _, name = path.rpartition(".")
            setattr(self.inside(owner), name, part)

    def inside(self, path: str) -> nn.Module:
        """The module of this name; what is missing on the way is made."""
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
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        past_key_values: object = None,
    ) -> torch.Tensor:
        """What a soft prompt looks for; a model without numbers can't be run."""
        raise NotImplementedError

    def get_input_embeddings(self) -> nn.Module:
        """The table of the words' vectors."""
        return self.get_submodule(self.words)

    def get_output_embeddings(self) -> nn.Module | None:
        """The layer that makes logits of the last hidden states."""
        return self.get_submodule(self.output) if self.output else None
