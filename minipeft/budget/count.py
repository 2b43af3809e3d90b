"""Counting: what a config trains, from the shapes of a model's layers alone.

    trainable = what the method says for each target + saved heads + biases + a soft prompt
    total     = base + trainable, as Hugging Face peft counts: a head that is trained and saved is
                there twice, a bias that is trained in its place once

Each method's own count stands beside its equation, in `minipeft/methods`.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from minipeft.budget.discrepancies import DISCREPANCIES
from minipeft.core.adapter import layers_for
from minipeft.core.config import LayerConfig, PeftConfig
from minipeft.core.patterns import is_below
from minipeft.core.replacements import check_tied
from minipeft.core.targets import modules_to_save
from minipeft.methods.prompt_config import PromptLearningConfig
from minipeft.quant.linear4bit import Linear4bit
from minipeft.shapes.naming import architecture_for, model_for
from minipeft.shapes.published import ARCHITECTURES, architecture_of


@dataclass(frozen=True)
class ParameterCount:
    """What is trained.

    by_module: name -> the numbers trained there. base: the model's own parameters, each once.
    added: those that stand beside the base. remarks: where others print another count, and why.
    """

    by_module: dict[str, int]
    base: int
    added: int
    remarks: list[str] = field(default_factory=list)

    @property
    def trainable(self) -> int:
        """How many numbers are trained."""
        return sum(self.by_module.values())

    @property
    def total(self) -> int:
        """Base and adapter together."""
        return self.base + self.added

    @property
    def percent(self) -> float:
        """100 trainable / total: the "trainable%" that peft prints."""
        return 100 * self.trainable / self.total if self.total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        names = ("trainable", "total", "percent", "by_module", "remarks")
        return {name: getattr(self, name) for name in names}

    def table(self) -> str:
        """One line for each kind of module, the same in all layers; then the line of peft."""
        kinds: dict[str, list[int]] = {}
        for path, count in self.by_module.items():
            kinds.setdefault(re.sub(r"\.\d+\.", ".*.", path), []).append(count)
        wide = max(map(len, kinds), default=0)
        lines = [
            f"{kind:<{wide}}  {len(counts):>4} x {max(counts):>13,}  = {sum(counts):>15,}"
            for kind, counts in kinds.items()
        ]
        lines.append(
            f"trainable params: {self.trainable:,d} || all params: {self.total:,d} || "
            f"trainable%: {self.percent:.4f}"
        )
        return "\n".join(lines + self.remarks)


def count_parameters(
    architecture_or_model: Any, config: PeftConfig | None = None
) -> ParameterCount:
    """What `config` would train on a model. Nothing is built and nothing is changed.

    architecture_or_model: an Architecture, a name in ARCHITECTURES, a config.json (a dict or a
        path), or a model. config: of any method; None means full fine-tuning, which of a model
        counts what requires a gradient.

    Targets go by the family's own names ("c_attn" is then one fused matrix), or by q_proj, k_proj,
    v_proj, o_proj, gate_proj, up_proj and down_proj, one matrix each in every family.

    Raises ValueError or TypeError for what doesn't fit, as get_peft_model does.
    """
    if not isinstance(config, PeftConfig | None):
        raise TypeError(f"config must be a config such as LoraConfig, not {config!r}")
    count = counted(model_for(architecture_or_model, config), config)
    return replace(count, remarks=remarks(architecture_or_model, config, count))


def counted(model: nn.Module, config: PeftConfig | None) -> ParameterCount:
    """The count of a model's modules, without remarks."""
    base = sum(real_numbers(model).values())
    if config is None:
        own = {path: trained_now(module) for path, module in model.named_modules()}
        return ParameterCount(each_once(own), base, added=0)
    beside: dict[str, int] = {}
    targets: dict[str, nn.Module] = {}
    if isinstance(config, PromptLearningConfig):
        beside["prompt_encoder"] = prompt_count(model, config)
    else:
        config = config.completed(model)
    if isinstance(config, LayerConfig):
        config, targets = layers_for(model, config, new=True)
        beside |= {path: config.count(path, layer) for path, layer in targets.items()}
    saved = modules_to_save(model, config)
    check_tied(model, saved)
    beside |= each_once({path: list(module.parameters()) for path, module in saved.items()})
    trained = {path: count for path, count in beside.items() if count}
    trained |= in_place(model, config, targets, saved)
    return ParameterCount(trained, base, added=sum(beside.values()))


def remarks(wanted: Any, config: PeftConfig | None, count: ParameterCount) -> list[str]:
    """The claims about as many numbers, trained by this method on a model of this shape."""
    try:
        architecture = architecture_for(wanted, config)
    except ValueError:
        return []  # a model of no known family
    claims = [claim for claim in DISCREPANCIES if type(claim.config) is type(config)]
    claims = [claim for claim in claims if architecture.like(ARCHITECTURES[claim.model])]
    return [
        str(claim)
        for claim in claims
        if counted(model_for(claim.model, claim.config), claim.config).trainable == count.trainable
    ]


def trained_now(module: nn.Module) -> list[nn.Parameter]:
    """A module's own parameters that require a gradient."""
    return [p for p in module.parameters(recurse=False) if p.requires_grad]


def each_once(owned: dict[str, list[nn.Parameter]]) -> dict[str, int]:
    """How many numbers each has; what several share counts for the first of them."""
    first: dict[int, tuple[str, int]] = {}
    for path, parameters in owned.items():
        for parameter in parameters:
            first.setdefault(id(parameter), (path, parameter.numel()))
    counts: dict[str, int] = {}
    for path, count in first.values():
        counts[path] = counts.get(path, 0) + count
    return counts


def in_place(model: nn.Module, config: PeftConfig, targets: dict, saved: dict) -> dict[str, int]:
    """The base's own parameters that the method trains, each under its first name."""
    found: dict[int, tuple[str, int]] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(path, recurse=False):
            kind = name.rpartition(".")[2]
            if not is_below(path, saved) and config.trains(path, module, kind, path in targets):
                found.setdefault(id(parameter), (name, parameter.numel()))
    return dict(found.values())


def prompt_count(model: nn.Module, config: PromptLearningConfig) -> int:
    """What a soft prompt trains; an encoder-decoder (SEQ_2_SEQ_LM) gets one for each stack."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        model = architecture_of(model).model  # get_peft_model has none for these; counts there are
    stacks = 2 if config.task_type == "SEQ_2_SEQ_LM" else 1
    return config.completed(model).count(stacks)


def real_numbers(model: nn.Module) -> dict[int, int]:
    """The base's parameters, id -> numbers; a packed 4-bit weight has as many as it stands for."""
    found = {id(parameter): parameter.numel() for parameter in model.parameters()}
    for module in model.modules():
        if isinstance(module, Linear4bit):
            found[id(module.weight)] = module.in_features * module.out_features
    return found
