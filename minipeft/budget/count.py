"""Counting: the adapter is built on the meta device, and its parameters are counted.

trainable = what each target's layer holds + saved heads + biases + a soft prompt
total     = base + trainable, as Hugging Face peft counts: a head that is trained and saved is
            there twice, a bias that is trained in its place once
"""

import re
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from torch import nn

from minipeft.budget.discrepancies import DISCREPANCIES, Discrepancy, about
from minipeft.core.config import PeftConfig, nearest_config
from minipeft.core.linear import packed_away
from minipeft.core.meta_adapter import meta_adapter
from minipeft.shapes.naming import model_for


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
        raise TypeError(f"config={config!r} is none of minipeft's; {nearest_config(config)}")
    count = counted(model_for(architecture_or_model, config), config)
    claims = [one for one in DISCREPANCIES if type(one.config) is type(config)]
    claims = about(architecture_or_model, claims)
    said = [str(one) for one in claims if arithmetic(one) == count.trainable]
    return replace(count, remarks=said)


def counted(model: nn.Module, config: PeftConfig | None) -> ParameterCount:
    """The count of a model of the meta device, without remarks."""
    base = sum(parameter.numel() for parameter in model.parameters()) + packed_away(model)
    if config is None:
        named = [(n.rpartition(".")[0], p) for n, p in model.named_parameters() if p.requires_grad]
        return ParameterCount(numbers(named), base, added=0)
    adapter = meta_adapter(model, replace(config, inference_mode=False))
    prompt = [] if adapter.prompt is None else adapter.prompt.parameters()
    held = [("prompt_encoder", parameter) for parameter in prompt]
    for path, replacement in adapter.replacements.items():
        held += [(path, parameter) for _, parameter in replacement.named_parameters(path)]
    return ParameterCount(numbers(held), base, added=adapter.count()[1])


@cache
def arithmetic(one: Discrepancy) -> int:
    """What is trained where a source prints something else; counted once."""
    return counted(model_for(one.model, one.config), one.config).trainable


def numbers(held: list[tuple[str, nn.Parameter]]) -> dict[str, int]:
    """How many numbers each place has; what several share counts for the first of them."""
    counts: dict[str, int] = {}
    for path, parameter in {id(p): (path, p) for path, p in reversed(held)}.values():
        counts[path] = counts.get(path, 0) + parameter.numel()
    return {path: counts[path] for path, _ in held if path in counts}
