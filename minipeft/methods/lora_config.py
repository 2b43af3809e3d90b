"""The options of LoRA and of the papers that keep its A and B: rsLoRA, DoRA, PiSSA."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from torch import nn

from minipeft.core.config import LayerConfig
from minipeft.core.errors import check_choice, check_dropout, check_number, check_whole
from minipeft.core.linear import adapter_place, shape_of
from minipeft.core.patterns import by_pattern, check_pattern, sortable
from minipeft.methods.dora import DoraTuner
from minipeft.methods.lora import LoraTuner
from minipeft.methods.pissa import PissaTuner, check_pissa


@dataclass
class LoraConfig(LayerConfig):
    """Options of LoRA, under peft's names; those that say which layers are in LayerConfig.

    r: the rank, at least 1 and at most the smaller side of the matrix.
    lora_alpha: alpha; the update is scaled by alpha / r, with `use_rslora` by alpha / sqrt(r).
    lora_dropout: probability of dropping an entry of the input of A while training.
    use_dora: magnitude and direction apart, see dora.py.
    init_lora_weights: True (A kaiming uniform, B zero: the start is the base), "gaussian"
        (A ~ N(0, 1/r^2), B zero), "pissa" (see pissa.py), or False (both random: for tests).
    rank_pattern, alpha_pattern: other ranks and alphas by layer, {name or regex: value}.

    Raises ValueError for a value out of range, TypeError for an unknown option.
    """

    r: int = 8
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    use_rslora: bool = False
    use_dora: bool = False
    init_lora_weights: bool | str = True
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)

    peft_type: ClassVar[str] = "LORA"
    patterns: ClassVar[tuple[str, ...]] = ("rank_pattern", "alpha_pattern")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pattern("rank_pattern", self.rank_pattern)
        check_pattern("alpha_pattern", self.alpha_pattern)
        for name, rank in {"r": self.r, **self.rank_pattern}.items():
            check_whole(f"rank {name}", rank, 1)
        for name, alpha in {"lora_alpha": self.lora_alpha, **self.alpha_pattern}.items():
            check_number(name, alpha)
        check_dropout("lora_dropout", self.lora_dropout)
        for name in ("use_rslora", "use_dora"):
            check_choice(name, getattr(self, name), [True, False])
        inits = [True, False, "gaussian", "pissa"]
        check_choice("init_lora_weights", self.init_lora_weights, inits)
        if self.init_lora_weights == "pissa":
            check_pissa(self.use_dora, {"lora_alpha": self.lora_alpha, **self.alpha_pattern})

    def fitted(self, layers: dict[str, nn.Module]) -> Self:
        """The same ranks and alphas, in patterns that a file can hold, none above its layer's."""
        for path, layer in layers.items():
            r, shape = by_pattern(self.rank_pattern, path, self.r), shape_of(layer)
            if r > min(shape):
                raise ValueError(
                    f"r={r} is larger than {path} ({shape[0]} x {shape[1]}); "
                    f"the largest rank there is {min(shape)}"
                )
        ranks, alphas = sortable(self.rank_pattern, layers), sortable(self.alpha_pattern, layers)
        return replace(self, rank_pattern=ranks, alpha_pattern=alphas)

    def tuner(self, path: str, layer: nn.Module) -> LoraTuner:
        """The tuner for the layer called `path`, its rank and alpha as the patterns say."""
        r = by_pattern(self.rank_pattern, path, self.r)
        alpha = by_pattern(self.alpha_pattern, path, self.lora_alpha)
        tuner = self.kind()(*shape_of(layer)[::-1], r, alpha, self.lora_dropout, self.use_rslora)
        tuner.reset(self.init_lora_weights)
        return tuner.to(**adapter_place(layer)).started_from(layer)

    def kind(self) -> type[LoraTuner]:
        """The class of tuner: that of LoRA's paper, or of a later one that stands on it."""
        if self.use_dora:
            return DoraTuner
        return PissaTuner if self.init_lora_weights == "pissa" else LoraTuner
