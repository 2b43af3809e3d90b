"""AdaLoRA: h = W0 x + s B (E * A x), with s = alpha / init_r: low rank, where it matters most.

Zhang et al. 2023, "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", section 3.
Trained: A (r, in), E (r, 1) and B (out, r) of each target, r (in + out + 1) numbers; W0 is frozen.
The update is a singular value decomposition (B, E and A are the paper's P, Lambda and Q): a penalty
keeps B and A near orthonormal. rank_allocation.py says which ranks fall, and when.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar, Self

import torch.nn.functional as F
from torch import Tensor, nn

from minipeft.core.config import LayerConfig
from minipeft.core.errors import check_choice, check_dropout, check_number, check_whole
from minipeft.core.linear import adapter_place, shape_of
from minipeft.methods import fast
from minipeft.methods.families import ADALORA
from minipeft.methods.rank_allocation import (
    Triplets,
    check_rank_pattern,
    keep_best,
    measure_all,
    triplets_left,
)


@dataclass
class AdaLoraConfig(LayerConfig):
    """Options of AdaLoRA, under peft's names; those that say which layers are in LayerConfig.

    init_r, target_r: the triplets of every layer at the start, and their mean number at the end.
    total_step: how many steps the training takes. In the first `tinit` of them every rank stays,
        in the last `tfinal` those that were found; between, ranks fall every `deltaT` steps.
    beta1, beta2: how slowly the means of sensitivity and uncertainty move, in (0, 1).
    rank_pattern: which triplets are kept, {"<layer>.lora_E": [True, False, ...]}; training writes
        it, and the tensors of a file hold no others.
    orth_reg_weight: weight of the penalty in the loss.
    lora_alpha: alpha > 0; the update is scaled by alpha / init_r, whatever the rank becomes.
    lora_dropout: probability of dropping an entry of the input of A while training.
    init_lora_weights: True (E zero: the start is the base) or False (all random: for tests).
    r: not used, here as in peft, whose files have it.

    Raises ValueError for a value out of range, TypeError for an unknown option.
    """

    target_r: int = 8
    init_r: int = 12
    tinit: int = 0
    tfinal: int = 0
    deltaT: int = 1
    beta1: float = 0.85
    beta2: float = 0.85
    orth_reg_weight: float = 0.5
    total_step: int | None = None
    rank_pattern: dict[str, list[bool]] | None = None
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    init_lora_weights: bool = True
    r: int = 8

    peft_type: ClassVar[str] = "ADALORA"
    own_bias: ClassVar[str] = "lora_only"  # as in peft
    families: ClassVar[dict[str, tuple[str, ...]]] = ADALORA
    starts: ClassVar[dict[str, tuple]] = {"init_lora_weights": ("eva", "mica", "orthogonal")}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("init_r", self.init_r, 1)
        check_number("lora_alpha", self.lora_alpha)
        if self.lora_alpha <= 0:  # peft takes it for the rank: another one in a file
            raise ValueError(f"lora_alpha={self.lora_alpha!r} must be above 0, say 8")
        check_dropout("lora_dropout", self.lora_dropout)
        check_choice("init_lora_weights", self.init_lora_weights, [True, False])
        check_rank_pattern(self.rank_pattern, self.init_r)
        if not self.inference_mode:  # older files of peft have no total_step
            self.check_schedule()

    def check_schedule(self) -> None:
        """Raise ValueError where training could not go by these options."""
        for name in ("target_r", "deltaT", "total_step"):
            check_whole(name, getattr(self, name), 1)
        for name in ("tinit", "tfinal"):
            check_whole(name, getattr(self, name), 0)
        for name in ("beta1", "beta2", "orth_reg_weight"):
            check_number(name, getattr(self, name))
        for name in ("beta1", "beta2"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must be in (0, 1), say 0.85")
        if self.orth_reg_weight < 0:
            raise ValueError(f"orth_reg_weight={self.orth_reg_weight!r} is below 0; choose 0.5")
        if self.tinit >= self.total_step - self.tfinal:
            raise ValueError(
                f"tinit={self.tinit} leaves no step for ranks to fall in: it must be below "
                f"total_step - tfinal = {self.total_step} - {self.tfinal}"
            )

    def checked_against(self, layers: dict[str, nn.Module]) -> Self:
        if self.r != 8:
            warnings.warn(f"AdaLoRA doesn't use r={self.r!r}; say init_r, target_r", stacklevel=2)
        if self.rank_pattern:
            raise ValueError(
                "rank_pattern is found while training; leave it out: a new adapter starts with "
                f"init_r={self.init_r} triplets in every layer"
            )
        if self.target_r > self.init_r:
            raise ValueError(
                f"target_r={self.target_r} is above init_r={self.init_r}, and ranks only fall; "
                f"the largest target_r is {self.init_r}"
            )
        return self

    def tuner(self, path: str, layer: nn.Module) -> "AdaLoraLayer":
        """The tuner for the layer called `path`, with the triplets that rank_pattern keeps."""
        return AdaLoraLayer(*shape_of(layer), self.held(path), self).to(**adapter_place(layer))

    def held(self, path: str) -> list[bool]:
        """Which of the init_r triplets the layer called `path` starts with."""
        return (self.rank_pattern or {}).get(f"{path}.lora_E", [True] * self.init_r)

    def penalty(self, tuners: dict[str, Triplets]) -> Tensor | float:
        """orth_reg_weight times the mean norm, as in peft; the paper adds up squared norms."""
        if self.orth_reg_weight == 0:
            return 0.0
        return self.orth_reg_weight * super().penalty(tuners) / (2 * len(tuners))

    def after_step(self, tuners: dict[str, Triplets], step: int) -> None:
        """Move ranks; `step` counts from 1. Raises RuntimeError where gradients are missing."""
        first, last = self.tinit, self.total_step - self.tfinal
        if step < last:
            measure_all(tuners, step, self.beta1, self.beta2)
        if step == last or (first < step < last and step % self.deltaT == 0):
            most, least = self.init_r * len(tuners), self.target_r * len(tuners)
            keep_best(tuners, triplets_left(step, first, last, most, least))
            self.rank_pattern = {f"{path}.lora_E": t.pattern for path, t in tuners.items()}
        for tuner in tuners.values():
            if step == last:
                tuner.importance.clear()
            elif step > last:  # the optimizer still moves every E_i
                tuner.mask()


class AdaLoraLayer(Triplets):
    """h = W0 x + s B (E * A dropout(x)), for x (..., in)."""

    def __init__(
        self, out_features: int, in_features: int, held: list[bool], config: AdaLoraConfig
    ) -> None:
        super().__init__(out_features, in_features, held)
        if config.init_lora_weights:
            nn.init.zeros_(self.lora_E)
            nn.init.normal_(self.lora_A, std=0.02)
            nn.init.normal_(self.lora_B, std=0.02)
        self.dropout = nn.Dropout(config.lora_dropout)
        self.scaling = config.lora_alpha / (config.init_r + 1e-5)  # 1e-5 as in peft

    def low_rank(self) -> tuple[Tensor, Tensor, float]:
        return self.scaling * self.lora_E * self.lora_A, self.lora_B, 1.0

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        EA, B, _ = self.low_rank()  # (r, in), the scale in it, and (out, r)
        x_dropped = self.dropout(x.to(B.dtype))  # (..., in), 32 bits: the one cast
        if fast.applies(base, x, EA, B):
            return fast.low_rank(base, x, x_dropped, EA, B, 1.0)
        h = base(x)  # W0 x + b, (..., out)
        return (h + F.linear(F.linear(x_dropped, EA), B)).to(h.dtype)
