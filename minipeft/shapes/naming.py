"""Names: the family's own, or q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj.

The canonical names are the same in every family. A matrix under another name gets the canonical one
as a second name. A fused matrix becomes one matrix for each role, whose outputs are concatenated
again, so that the model can still be run.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

from minipeft.core.config import LayerConfig, PeftConfig
from minipeft.core.errors import nearest
from minipeft.core.linear import is_linear, shape_of
from minipeft.core.meta_adapter import meta_copy
from minipeft.core.modules import modules_by_name
from minipeft.core.patterns import matches
from minipeft.core.replacements import places
from minipeft.core.target_checks import endings
from minipeft.core.targets import unmatched_names
from minipeft.shapes.architectures import Architecture
from minipeft.shapes.meta_model import linear
from minipeft.shapes.published import find_architecture

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
QKV = ("q_proj", "k_proj", "v_proj")
FUSED = dict.fromkeys(("c_attn", "query_key_value", "Wqkv", "qkv_proj"), QKV)
FUSED["gate_up_proj"] = ("gate_proj", "up_proj")


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


def architecture_for(wanted: Any, config: PeftConfig | None) -> Architecture:
    """The architecture that is meant, with the head that the config's task asks for."""
    architecture = find_architecture(wanted)
    task = None if config is None else config.task_type
    if task in (None, architecture.head):
        return architecture
    if task not in architecture.shape.tasks:
        raise ValueError(
            f"task_type={task!r} has no head in {architecture.model_type!r} here; "
            f"{nearest(task, architecture.shape.tasks)}"
        )
    return architecture.but(head=task)


def model_for(wanted: Any, config: PeftConfig | None, run: bool = False) -> nn.Module:
    """The model on the meta device, under the names that `config` uses.

    wanted: a model, of which this is a copy, or what find_architecture takes. run: as in `build`.
    Raises ValueError for a name that is in neither set, and where the two are mixed.
    """
    if isinstance(wanted, nn.Module):
        return named_for(meta_copy(wanted), config)
    architecture = architecture_for(wanted, config)
    return named_for(architecture.build(run), config, architecture.model_type)


def named_for(model: nn.Module, config: PeftConfig | None, model_type: str = "") -> nn.Module:
    """The model, which is given canonical names as well if `config` has names that it lacks."""
    unknown, model_type = strange(model, config), model_type or type(model).__name__
    if not unknown:
        return model
    known = endings(modules_by_name(model, remove_duplicate=False), config)
    unmatched = strange(with_canonical_names(model), config)
    modules = modules_by_name(model, remove_duplicate=False)
    for option, name in unmatched:
        hint = nearest(name, known | endings(modules, config))
        raise ValueError(f"{option}={name!r} matches no module of {model_type!r}; {hint}")
    for path, module in modules.items():
        if isinstance(module, Fused) and matches(path, config.target_modules):
            raise ValueError(
                f"{path.rpartition('.')[2]!r} is a name of {model_type!r} itself, and "
                f"{unknown[0][0]}={unknown[0][1]!r} one of all families; choose one kind for all"
            )
    return model


def strange(model: nn.Module, config: PeftConfig | None) -> list[tuple[str, str]]:
    """The names in a config that match nothing in the model, each with its option."""
    if not isinstance(config, LayerConfig):
        return []
    found = list(unmatched_names(modules_by_name(model, remove_duplicate=False), config))
    return [pair for pair in found if str(pair[1]).lower() != "all-linear"]
