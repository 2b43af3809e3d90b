"""LoRA: h = W0 x + s B A x, with s = alpha / r (or alpha / sqrt(r), rsLoRA).

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.
Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA" (rsLoRA).
Trained: A (r, in) and B (out, r) of each target, r (in + out) numbers; W0 (out, in) is frozen.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from torch import Tensor, nn

from minipeft.core.config import LayerConfig
from minipeft.core.errors import check_choice, check_dropout, check_number, check_whole
from minipeft.core.layer import Tuner
from minipeft.core.linear import adapter_place, shape_of
from minipeft.core.patterns import by_pattern, check_pattern, sortable
from minipeft.methods import fast
from minipeft.methods.families import ATTENTION


class LoraLayer(Tuner):
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

    @classmethod
    def check_config(cls, config: "LoraConfig") -> None:
        """Raise ValueError where another option of the config doesn't go with this layer."""

    def reset(self, init: bool | str) -> None:
        """Start A at random and B at zero, so that step 0 is the base, bit for bit."""
        if init is False:
            return  # as nn.Linear made them
        if init == "gaussian":
            nn.init.normal_(self.lora_A.weight, std=1 / self.lora_A.out_features)
        else:
            nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))  # +- 1 / sqrt(in)
        nn.init.zeros_(self.lora_B.weight)

    def init_from(self, layer: nn.Module) -> Self:
        """This, started from the frozen layer: DoRA and PiSSA read its weight."""
        return self

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        A, B, s = self.low_rank()
        x_dropped = self.dropout(x.to(A.dtype))  # (..., in), 32 bits: the one cast
        if fast.applies(base, x, A, B) and fast.is_plain(self.lora_A, self.lora_B):
            return fast.low_rank(base, x, x_dropped, A, B, s)
        h = base(x)  # W0 x + b, (..., out)
        return (h + s * self.lora_B(self.lora_A(x_dropped))).to(h.dtype)

    def low_rank(self) -> tuple[Tensor, Tensor, float]:
        return self.lora_A.weight, self.lora_B.weight, self.scaling


LoraTuner = LoraLayer  # the name that lessons of version 0.2 import

# Layers of later papers: (whether a config asks for it, its class), entered by `variant`.
VARIANTS: list[tuple[Callable[["LoraConfig"], bool], type[LoraLayer]]] = []


def variant(
    asked_for: Callable[["LoraConfig"], bool],
) -> Callable[[type[LoraLayer]], type[LoraLayer]]:
    """A class decorator: LoraConfig makes this layer where `asked_for(config)` is true."""

    def enter(kind: type[LoraLayer]) -> type[LoraLayer]:
        VARIANTS.append((asked_for, kind))
        return kind

    return enter


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
    families: ClassVar[dict[str, tuple[str, ...]]] = ATTENTION
    starts: ClassVar[dict[str, tuple]] = {"init_lora_weights": ("eva", "mica", "orthogonal")}

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
        for asked_for, kind in VARIANTS:
            if asked_for(self):
                kind.check_config(self)

    def checked_against(self, layers: dict[str, nn.Module]) -> Self:
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

    def tuner(self, path: str, layer: nn.Module) -> LoraLayer:
        """The tuner for the layer called `path`, its rank and alpha as the patterns say."""
        r = by_pattern(self.rank_pattern, path, self.r)
        alpha = by_pattern(self.alpha_pattern, path, self.lora_alpha)
        out_features, in_features = shape_of(layer)
        options = r, alpha, self.lora_dropout, self.use_rslora
        tuner = self.layer_class()(in_features, out_features, *options)
        tuner.reset(self.init_lora_weights)
        return tuner.to(**adapter_place(layer)).init_from(layer)

    def layer_class(self) -> type[LoraLayer]:
        """The layer of LoRA's paper, or of a later paper that keeps its A and B."""
        return next((kind for asked_for, kind in VARIANTS if asked_for(self)), LoraLayer)

    @property
    def is_plain_low_rank(self) -> bool:
        return self.layer_class().low_rank is not Tuner.low_rank

    def from_factors(
        self, factors: dict[str, tuple[Tensor, Tensor]]
    ) -> tuple["LoraConfig", dict[str, Tensor]]:
        """The config and the file's tensors; all A must have the same number of rows."""
        r = len(next(A for A, _ in factors.values()))
        config = LoraConfig(
            r=r,
            lora_alpha=r,  # a scale of 1
            target_modules=list(factors),
            task_type=self.task_type,
            base_model_name_or_path=self.base_model_name_or_path,
            inference_mode=True,  # frozen, as peft makes it
        )
        tensors = {}
        for path, (A, B) in factors.items():
            place = f"{self.file_prefix}{path}"
            tensors |= {f"{place}.lora_A.weight": A, f"{place}.lora_B.weight": B}
        return config, tensors
