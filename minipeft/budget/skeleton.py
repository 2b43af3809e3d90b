"""A model without numbers: modules with shapes and names, on the meta device, which holds no data.

Everything that finds layers in a real model (targets, heads to save, biases) works on it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

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


class Skeleton(nn.Module):
    """The modules of a model by dotted name; `config` has its sizes, as a transformers model's."""

    def __init__(self, parts: Parts, config: object, output: str | None) -> None:
        super().__init__()
        self.config, self.output = config, output
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

    def get_output_embeddings(self) -> nn.Module | None:
        """The layer that makes logits of the last hidden states."""
        return self.get_submodule(self.output) if self.output else None


@dataclass(frozen=True)
class Stack:
    """Equal transformer layers, one after the other.

    path: of the list of layers. names: role -> name inside a layer; the roles are q_proj, k_proj,
    v_proj, o_proj, gate_proj, up_proj and down_proj, with "cross_" before those that read another
    stack. Roles of one name are one fused matrix. norms: the names of the norms.
    biased: the roles that have a bias. rms: the norms have no bias and no mean to subtract.
    """

    path: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    names: dict[str, str]
    norms: tuple[str, ...]
    biased: frozenset[str] = frozenset()
    rms: bool = False
    causal: bool = False
    rotary: bool = False
    conv1d: bool = False
    dropout: float = 0.0

    def shape(self, role: str) -> tuple[int, int]:
        """(out, in) of the matrix in this role."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (queries, self.hidden),
            "k_proj": (keys, self.hidden),
            "v_proj": (keys, self.hidden),
            "o_proj": (self.hidden, queries),
            "gate_proj": (self.inner, self.hidden),
            "up_proj": (self.inner, self.hidden),
            "down_proj": (self.hidden, self.inner),
        }[role.removeprefix("cross_")]

    def parts(self, canonical: bool) -> Parts:
        """Every matrix and norm of every layer, under the family's names or the canonical ones."""
        for number in range(self.layers):
            for name, roles in self.matrices(canonical).items():
                outputs = sum(self.shape(role)[0] for role in roles)
                inputs = self.shape(roles[0])[1]
                if self.conv1d and not canonical:
                    matrix = Conv1D(outputs, inputs)
                else:
                    matrix = linear(outputs, inputs, bias=roles[0] in self.biased)
                yield f"{self.path}.{number}.{name}", matrix
            for name in self.norms:
                norm = RMSNorm if self.rms else layer_norm
                yield f"{self.path}.{number}.{name}", norm(self.hidden)

    def matrices(self, canonical: bool) -> dict[str, list[str]]:
        """Name inside a layer -> the roles that this matrix plays."""
        found: dict[str, list[str]] = {}
        for role, name in self.names.items():
            if canonical:  # in the same place, by its role: attention.self.query -> ....q_proj
                place, dot, _ = name.rpartition(".")
                name = place + dot + role.removeprefix("cross_")
            found.setdefault(name, []).append(role)
        return found
