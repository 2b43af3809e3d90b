"""(IA)^3: h = l * (W0 x + b0), and in feed-forward modules h = W0 (l * x) + b0.

Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context
Learning", section 3.3: keys, values and the inner activation of the MLP are rescaled.
Trained: l, one factor for each output, or each input of a feed-forward module: (out, 1) or (1, in).
"""

import re
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from minipeft.core.config import LayerConfig
from minipeft.core.errors import check_choice, check_list, check_regex, nearest
from minipeft.core.layer import Tuner
from minipeft.core.linear import adapter_place, shape_of
from minipeft.core.patterns import matches, of_family
from minipeft.methods.families import IA3


@dataclass
class IA3Config(LayerConfig):
    """Options of (IA)^3, under peft's names; those that say which layers are in LayerConfig.

    target_modules: None takes those that peft takes in the model's family.
    feedforward_modules: which of the target_modules are scaled at their input, in the same forms;
        an ending needs no dot in front, as in peft. None takes the family's.
    init_ia3_weights: True starts l at 1, so that the start is the base; False at random (tests).

    Raises ValueError for a value out of range, TypeError for an unknown option.
    """

    feedforward_modules: list[str] | str | None = None
    init_ia3_weights: bool = True

    peft_type: ClassVar[str] = "IA3"
    bias: ClassVar[str] = "none"  # these three are no options of peft's (IA)^3
    layers_to_transform: ClassVar[None] = None
    layers_pattern: ClassVar[None] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("init_ia3_weights", self.init_ia3_weights, [True, False])
        if isinstance(self.feedforward_modules, str):
            check_regex("feedforward_modules", self.feedforward_modules)
            return
        check_list("feedforward_modules", self.feedforward_modules, str)
        if self.target_modules is None or isinstance(self.target_modules, str):
            return
        for name in self.feedforward_modules or []:
            if not any(matches(name, [t]) or matches(t, [name]) for t in self.target_modules):
                raise ValueError(
                    f"feedforward_modules={name!r} is none of the target_modules; "
                    f"{nearest(name, self.target_modules)}"
                )

    def with_model_defaults(self, model: nn.Module) -> Self:
        """With the family's modules where none are named."""
        if self.target_modules is not None and self.feedforward_modules is not None:
            return self
        option = "feedforward_modules" if self.target_modules is not None else "target_modules"
        family = of_family(model, IA3, option)
        targets = list(family) if self.target_modules is None else self.target_modules
        feedforward = self.feedforward_modules
        if feedforward is None:
            paths = [path for path, _ in model.named_modules()]
            fed = (path for path in paths if targets == "all-linear" or matches(path, targets))
            feedforward = [family[-1]] if any(path.endswith(family[-1]) for path in fed) else []
        return replace(self, target_modules=targets, feedforward_modules=feedforward)

    def checked_against(self, layers: dict[str, nn.Module]) -> Self:
        """The same; where feedforward_modules is no part of target_modules, written out in full."""
        named, wanted = self.feedforward_modules, self.target_modules
        known = {path.rpartition(".")[2] for path in layers}
        for name in [named] if isinstance(named, str) else named:
            form = name if isinstance(named, str) else [name]
            listed = not isinstance(wanted, str) and name in wanted  # then excluded elsewhere
            if not listed and not any(is_feedforward(path, form) for path in layers):
                raise ValueError(
                    f"feedforward_modules={name!r} is none of the targets; {nearest(name, known)}"
                )
        if isinstance(named, str) or isinstance(wanted, str) or set(named) <= set(wanted):
            return self
        named = [path for path in layers if is_feedforward(path, named)]
        return replace(self, target_modules=list(layers), feedforward_modules=named)

    def tuner(self, path: str, layer: nn.Module) -> "IA3Layer":
        """The tuner for the layer called `path`."""
        out_features, in_features = shape_of(layer)
        feedforward = is_feedforward(path, self.feedforward_modules or [])
        tuner = IA3Layer(in_features if feedforward else out_features, feedforward)
        if not self.init_ia3_weights:
            nn.init.normal_(tuner.ia3_l)
        return tuner.to(**adapter_place(layer))


def is_feedforward(path: str, named: list[str] | str) -> bool:
    """Whether the module called `path` is scaled at its input (endings as in peft: no dot)."""
    if isinstance(named, str):
        return re.fullmatch(named, path) is not None
    return path.endswith(tuple(named))


class IA3Layer(Tuner):
    """h = l * (W0 x + b0) or, feed-forward, h = W0 (l * x) + b0, for x (..., in)."""

    def __init__(self, features: int, feedforward: bool) -> None:
        super().__init__()
        self.ia3_l = nn.Parameter(torch.ones((1, features) if feedforward else (features, 1)))
        self.feedforward = feedforward

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        scale = self.ia3_l.flatten()  # (in,) or (out,), 32 bits: the product is, too
        if self.feedforward:
            return base((x * scale).to(x.dtype))
        h = base(x)  # (..., out)
        return (h * scale).to(h.dtype)

    def merged(self, weight: Tensor) -> Tensor:
        return weight * self.ia3_l.to(weight)

    def merged_bias(self, bias: Tensor | None) -> Tensor | None:
        """l * b where l scales the outputs: b is one of their terms."""
        if bias is None or self.feedforward:
            return bias
        return bias * self.ia3_l.flatten().to(bias)
