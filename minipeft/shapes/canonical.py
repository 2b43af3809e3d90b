"""Canonical names: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj everywhere.

A matrix under another name gets the canonical one as a second name. A fused matrix becomes one
matrix for each role, whose outputs are concatenated again, so that the model can still be run.
"""

import re

import torch
from torch import Tensor, nn

from minipeft.core.linear import is_linear, shape_of
from minipeft.core.replacements import places
from minipeft.shapes.meta_model import linear

# Role -> the ends of the names that families give to it, inside a numbered layer.
ROLES = {
    "q_proj": "query|query_proj|q_lin|q",
    "k_proj": "key|key_proj|k_lin|k",
    "v_proj": "value|value_proj|v_lin|v",
    "o_proj": r"attention\.output\.dense|attn\.c_proj|Attention\.o|att(?:entio)?n\.out_proj|"
    r"att(?:entio)?n\.dense|out_lin",
    "gate_proj": "wi_0",
    "up_proj": r"intermediate\.dense|c_fc|wi|wi_1|fc1|fc_in|lin1|dense_h_to_4h",
    "down_proj": r"output\.dense|mlp\.c_proj|wo|fc2|fc_out|lin2|dense_4h_to_h",
}
FUSED = {
    "c_attn": ("q_proj", "k_proj", "v_proj"),
    "query_key_value": ("q_proj", "k_proj", "v_proj"),
    "Wqkv": ("q_proj", "k_proj", "v_proj"),
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}


class Fused(nn.Module):
    """Several matrices (out_i, in) that are read as one: h = [W_1 x; W_2 x; ...]."""

    def __init__(self, layers: dict[str, nn.Linear]) -> None:
        super().__init__()
        for role, layer in layers.items():
            self.add_module(role, layer)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(x) for layer in self.children()], dim=-1)


def role_of(path: str) -> str | None:
    """The role of the matrix called `path`, or None: "h.0.mlp.c_proj" is a down_proj."""
    inside = re.search(r"\.\d+\.(.*)", f".{path}")
    for role, ends in ROLES.items():
        if inside and re.search(rf"(?:^|\.|(?<=_)(?=att)|Self|EncDec)(?:{ends})$", inside[1]):
            return role
    return None


def with_canonical_names(model: nn.Module) -> nn.Module:
    """The model of the meta device, which is changed and given back."""
    modules, owners = dict(model.named_modules()), places(model)
    for path, layer in modules.items():
        name = path.rpartition(".")[2]
        if not path or not is_linear(layer):
            continue
        if name in FUSED:
            split = Fused(parts(layer, FUSED[name], getattr(model, "config", None)))
            for owner, attribute in owners[id(layer)]:
                setattr(owner, attribute, split)
        elif (role := role_of(path)) is not None:
            for owner, _ in owners[id(layer)]:
                if role not in owner._modules:
                    owner.add_module(role, layer)
    return model


def fused_names(model: nn.Module) -> set[str]:
    """The names of the matrices that the canonical names split."""
    named = model.named_modules()
    return {path.rpartition(".")[2] for path, module in named if isinstance(module, Fused)}


def parts(layer: nn.Module, roles: tuple[str, ...], config: object) -> dict[str, nn.Linear]:
    """The matrices that a fused one consists of; keys and values may have fewer heads."""
    outputs, inputs = shape_of(layer)
    sizes = [outputs // len(roles)] * len(roles)
    if len(roles) == 3:
        heads = getattr(config, "num_attention_heads", None)
        head_dim = getattr(config, "head_dim", None) or inputs // (heads or 1)
        queries = heads * head_dim if heads else sizes[0]
        sizes = [queries, (outputs - queries) // 2, (outputs - queries) // 2]
    dtype, made = layer.weight.dtype, {}
    for role, size in zip(roles, sizes, strict=True):
        part = linear(size, inputs, bias=layer.bias is not None).to(dtype)
        made[role] = part.requires_grad_(layer.weight.requires_grad)
    return made
