"""VeRA: h = W0 x + b * B (d * A x), with one random, frozen pair A, B for all layers.

Kopiczko et al. 2024, "VeRA: Vector-based Random Matrix Adaptation", section 3.
Trained: d (r,) and b (out,) of each target, r + out numbers (`vera_lambda_d` and `vera_lambda_b`).
A (r, widest in) and B (widest out, r) are drawn from a key; a layer reads as much as it needs.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minipeft.core.config import LayerConfig
from minipeft.core.errors import check_choice, check_dropout, check_number, check_whole
from minipeft.core.layer import Tuner
from minipeft.core.linear import adapter_place, shape_of
from minipeft.methods import fast
from minipeft.methods.families import ATTENTION, QV

KEYS = -(2**63), 2**64  # what torch takes as a seed: from, and less than


@dataclass
class VeraConfig(LayerConfig):
    """Options of VeRA, under peft's names; those that say which layers are in LayerConfig.

    r: rows of A and columns of B, at least 1. It costs r numbers a layer: choose more than in LoRA.
    projection_prng_key: the seed of A and B.
    save_projection: whether files hold A and B; without them, a file is opened with the same key.
    vera_dropout: probability of dropping an entry of the input of A while training.
    d_initial: where every entry of d starts; b starts at 0, so that the start is the base.
    init_weights: False starts d at random and b at 1 (for tests).
    bias: "none", "vera_only" (train the targets' biases too) or "all" (every bias of the model).

    Raises ValueError for a value out of range, TypeError for an unknown option.
    """

    r: int = 256
    projection_prng_key: int = 0
    save_projection: bool = True
    vera_dropout: float = 0.0
    d_initial: float = 0.1
    init_weights: bool = True

    peft_type: ClassVar[str] = "VERA"
    families: ClassVar[dict[str, tuple[str, ...]]] = ATTENTION | {"phi": QV}
    not_in_files: ClassVar[tuple[str, ...]] = ("exclude_modules",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("r", self.r, 1)
        check_whole("projection_prng_key", self.projection_prng_key, KEYS[0])
        if self.projection_prng_key >= KEYS[1]:
            raise ValueError(
                f"projection_prng_key={self.projection_prng_key} is too large for a seed; the "
                f"largest is {KEYS[1] - 1}"
            )
        check_choice("save_projection", self.save_projection, [True, False])
        check_choice("init_weights", self.init_weights, [True, False])
        check_dropout("vera_dropout", self.vera_dropout)
        check_number("d_initial", self.d_initial)

    def checked_against(self, layers: dict[str, nn.Module]) -> Self:
        """The same, with exclude_modules worked into target_modules: peft has no such option."""
        if not self.exclude_modules:
            return self
        return replace(
            self,
            target_modules=list(layers),
            exclude_modules=None,
            layers_to_transform=None,
            layers_pattern=None,
        )

    def shared(self, layers: dict[str, nn.Module]) -> "Projections":
        """A and B, as wide as the widest layer on either side."""
        shapes = [shape_of(layer) for layer in layers.values()]
        out_features, in_features = (max(sizes) for sizes in zip(*shapes, strict=True))
        projections = Projections(in_features, out_features, self)
        return projections.to(**adapter_place(next(iter(layers.values()))))

    def tuner(self, path: str, layer: nn.Module) -> "VeraLayer":
        """The tuner for the layer called `path`."""
        return VeraLayer(*shape_of(layer), self).to(**adapter_place(layer))


class Projections(nn.Module):
    """A and B: kaiming uniform (He et al. 2015), the same for the same key, as peft draws them."""

    def __init__(self, in_features: int, out_features: int, config: VeraConfig) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(config.projection_prng_key)
        for name, shape in {
            "vera_A": (config.r, in_features),  # within +- sqrt(6 / in)
            "vera_B": (out_features, config.r),  # within +- sqrt(6 / r)
        }.items():
            drawn = nn.init.kaiming_uniform_(torch.empty(shape, device="cpu"), generator=generator)
            self.register_buffer(name, drawn, persistent=config.save_projection)


class VeraLayer(Tuner):
    """h = W0 x + b * B (d * A dropout(x)), for x (..., in)."""

    shared: Projections  # set when the adapter is built: one for all its tuners

    def __init__(self, out_features: int, in_features: int, config: VeraConfig) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        if config.init_weights:
            d, b = torch.full((config.r,), float(config.d_initial)), torch.zeros(out_features)
        else:
            d, b = torch.randn(config.r), torch.ones(out_features)
        self.vera_lambda_d = nn.Parameter(d)
        self.vera_lambda_b = nn.Parameter(b)
        self.dropout = nn.Dropout(config.vera_dropout)

    def projections(self) -> tuple[Tensor, Tensor]:
        """This layer's part of A (r, in) and B (out, r): views, on the layer's device."""
        d = self.vera_lambda_d
        vera_A, vera_B = self.shared.vera_A.to(d), self.shared.vera_B.to(d)
        return vera_A[:, : self.in_features], vera_B[: self.out_features]

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        (A, B), d, b = self.projections(), self.vera_lambda_d, self.vera_lambda_b
        x_dropped = self.dropout(x.to(A.dtype))  # (..., in), 32 bits: the one cast
        if fast.applies(base, x, A, B):
            return fast.scaled_low_rank(base, x, x_dropped, A, d, B, b)
        h = base(x)  # W0 x + b0, (..., out)
        return (h + b * F.linear(d * F.linear(x_dropped, A), B)).to(h.dtype)

    def low_rank(self) -> tuple[Tensor, Tensor, float]:
        vera_A, vera_B = self.projections()
        return self.vera_lambda_d[:, None] * vera_A, self.vera_lambda_b[:, None] * vera_B, 1.0
