"""LoRA: h = W0 x + s B A x, with s = alpha / r (or alpha / sqrt(r), rsLoRA).

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.
Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA" (rsLoRA).
Trained: A (r, in) and B (out, r) of each target, r (in + out) numbers; W0 (out, in) is frozen.
"""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from torch import Tensor, nn

from minipeft.configs import PeftConfig, check_choice, check_list, check_number, check_regex
from minipeft.methods.patterns import by_pattern, sortable
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
        self.check_kinds()
        for name, rank in {"r": self.r, **self.rank_pattern}.items():
            if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
                raise ValueError(f"rank {name}={rank!r} must be a whole number; the smallest is 1")
        for name, alpha in {"lora_alpha": self.lora_alpha, **self.alpha_pattern}.items():
            check_number(name, alpha)
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

    def check_kinds(self) -> None:
        """Raise ValueError for an option that isn't of the kind the docstring says."""
        check_number("lora_dropout", self.lora_dropout)
        check_list("modules_to_save", self.modules_to_save, str)
        if type(self.layers_to_transform) is not int:
            check_list("layers_to_transform", self.layers_to_transform, int)
        for name in ("target_modules", "exclude_modules", "layers_pattern"):
            value = getattr(self, name)
            check_regex(name, value) if isinstance(value, str) else check_list(name, value, str)
        for name in ("rank_pattern", "alpha_pattern"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"{name}={getattr(self, name)!r} must be {{name or regex: value}}")
            for key in getattr(self, name):
                check_regex(name, key)

    def fitted(self, paths: list[str]) -> Self:
        """The same ranks and alphas for these layers, in patterns that a file can hold."""
        ranks, alphas = sortable(self.rank_pattern, paths), sortable(self.alpha_pattern, paths)
        return replace(self, rank_pattern=ranks, alpha_pattern=alphas)

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
