"""LoRA: h = W0 x + s B A x, with s = alpha / r (or alpha / sqrt(r), rsLoRA).

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.
Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA" (rsLoRA).
Trained: A (r, in) and B (out, r) of each target, r (in + out) numbers; W0 (out, in) is frozen.
"""

import math
import re
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from minipeft.configs import PeftConfig, check_choice
from minipeft.methods.tuner import Tuner, adapter_dtype


@dataclass
class LoraConfig(PeftConfig):
    """Options of LoRA, under peft's names.

    r: the rank, at least 1 and at most the smaller side of the matrix.
    lora_alpha: alpha; the update is scaled by alpha / r, with `use_rslora` by alpha / sqrt(r).
    target_modules: a list of names (each matches a module's whole dotted name or its end after a
        dot), one string (a regular expression for the whole name), or "all-linear".
    exclude_modules: the same forms; what matches is left alone.
    lora_dropout: probability of dropping an entry of the input of A while training.
    bias: "none", "lora_only" (train the targets' biases too) or "all" (every bias of the model).
    init_lora_weights: True (A kaiming uniform, B zero: the start is the base), "gaussian"
        (A ~ N(0, 1/r^2), B zero), or False (both random: for tests).
    modules_to_save: names of modules that are trained in full and saved beside the adapter.
    rank_pattern, alpha_pattern: other ranks and alphas by layer, {name or regex: value}.
    layers_to_transform: only these layer numbers; layers_pattern: the name of the list of layers.
    fan_in_fan_out: how the targets store their weight; set from the layers when attached.

    Raises ValueError for a value out of range, TypeError for an unknown option.
    """

    r: int = 8
    lora_alpha: float = 8
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    lora_dropout: float = 0.0
    bias: str = "none"
    use_rslora: bool = False
    init_lora_weights: bool | str = True
    modules_to_save: list[str] | None = None
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    fan_in_fan_out: bool = False

    peft_type: ClassVar[str] = "LORA"

    def __post_init__(self) -> None:
        for name, rank in {"r": self.r, **self.rank_pattern}.items():
            if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
                raise ValueError(f"rank {name}={rank!r} must be a whole number; the smallest is 1")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"lora_dropout={self.lora_dropout!r} must be in [0, 1), say 0.05")
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError(
                f"layers_pattern={self.layers_pattern!r} needs layers_to_transform, the numbers"
            )
        if isinstance(self.target_modules, str) and self.layers_to_transform is not None:
            raise ValueError(
                f"layers_to_transform={self.layers_to_transform!r} goes with a list of names; put "
                f"the numbers into the expression target_modules={self.target_modules!r} itself"
            )
        check_choice("bias", self.bias, ["none", "all", "lora_only"])
        check_choice("init_lora_weights", self.init_lora_weights, [True, False, "gaussian"])

    def tuner(self, path: str, in_features: int, out_features: int, weight: Tensor) -> "LoraTuner":
        """The tuner for the layer called `path`, its rank and alpha as the patterns say."""
        r = by_pattern(self.rank_pattern, path, self.r)
        if r > min(in_features, out_features):
            raise ValueError(
                f"r={r} is larger than {path} ({out_features} x {in_features}); "
                f"the largest rank there is {min(in_features, out_features)}"
            )
        alpha = by_pattern(self.alpha_pattern, path, self.lora_alpha)
        tuner = LoraTuner(in_features, out_features, r, alpha, self.lora_dropout, self.use_rslora)
        tuner.reset(self.init_lora_weights)
        return tuner.to(device=weight.device, dtype=adapter_dtype(weight))


def by_pattern(pattern: dict[str, float], path: str, otherwise: float) -> float:
    """The value of the first key that matches the end of `path` after a dot, as peft reads them."""
    hits = (value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", path))
    return next(hits, otherwise)


class LoraTuner(Tuner):
    """h = W0 x + s B A dropout(x), for x (..., in)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        r: int,
        alpha: float,
        dropout: float = 0.0,
        use_rslora: bool = False,
    ) -> None:
        super().__init__()
        self.lora_A = nn.Linear(in_features, r, bias=False)  # weight (r, in)
        self.lora_B = nn.Linear(r, out_features, bias=False)  # weight (out, r)
        self.dropout = nn.Dropout(dropout)
        self.scaling = alpha / (math.sqrt(r) if use_rslora else r)

    def reset(self, init: bool | str) -> None:
        """Start A at random and B at zero, so that step 0 is the base, bit for bit."""
        if init is False:
            return  # as nn.Linear made them
        if init == "gaussian":
            nn.init.normal_(self.lora_A.weight, std=1 / self.lora_A.out_features)
        else:
            nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))  # +- 1 / sqrt(in)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        h = base(x)  # (..., out)
        x = self.dropout(x.to(self.lora_A.weight.dtype))  # (..., in), 32 bits: the one cast
        return (h + self.scaling * self.lora_B(self.lora_A(x))).to(h.dtype)

    def merged(self, weight: Tensor) -> Tensor:
        delta = self.lora_B.weight @ self.lora_A.weight  # (out, in)
        return weight + self.scaling * delta.to(weight)
