"""Bottleneck adapters: h + s up(act(down(z))), a small network with a skip around it.

In a block, h is what the MLP (or attention) is about to add to the residual stream x:
- "houlsby": z = h, after attention and after the MLP. Houlsby et al. 2019, "Parameter-Efficient
  Transfer Learning for NLP", section 2.1. (Their LayerNorms learn as well: modules_to_save.)
- "pfeiffer": z = x + h, after the MLP alone. Pfeiffer et al. 2021, "AdapterFusion", appendix.
- "parallel": z = x, beside the MLP. He et al. 2022, "Towards a Unified View of
  Parameter-Efficient Transfer Learning", section 3.3.
Trained: down (r, d) and up (d, r) with their biases, 2 d r + r + d numbers for each adapter. `up`
starts at zero: the start is the base, bit for bit (Houlsby et al. start close to it).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch.nn.functional as F
from torch import Tensor, nn

from minipeft.core.config import LayerConfig
from minipeft.core.errors import check_choice, check_number, check_whole
from minipeft.core.layer import Tuner
from minipeft.core.linear import adapter_place, shape_of
from minipeft.core.modules import is_norm
from minipeft.core.patterns import of_family
from minipeft.methods import stream
from minipeft.methods.families import BOTTLENECK

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "swish": F.silu, "tanh": F.tanh}
DEFAULTS = {"houlsby": ("swish", 1.0), "pfeiffer": ("relu", 1.0), "parallel": ("relu", 4.0)}


@dataclass
class BottleneckConfig(LayerConfig):
    """Options of bottleneck adapters; those that say which layers are in LayerConfig.

    style: "houlsby", "pfeiffer" or "parallel": what an adapter reads, and its usual places.
    bottleneck_size: r, the width inside, at least 1.
    non_linearity: "relu", "gelu", "swish" or "tanh"; scaling: s. None takes those of the style in
        the `adapters` library: swish and 1, relu and 1, relu and 4.
    target_modules: None takes the style's usual places. Else modules that turn one tensor into one
        (linear layers, `mlp`), each with an adapter, and norms, whose input is the x that the next
        adapter in the block reads. Without norms "pfeiffer" reads h, "parallel" what `mlp` reads.

    Raises ValueError for a value out of range, TypeError for an unknown option.
    """

    style: str = "houlsby"
    bottleneck_size: int = 64
    non_linearity: str | None = None
    scaling: float | None = None

    peft_type: ClassVar[str] = "BOTTLENECK"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("style", self.style, list(DEFAULTS))
        check_whole("bottleneck_size", self.bottleneck_size, 1)
        non_linearity, scaling = DEFAULTS[self.style]
        self.non_linearity = non_linearity if self.non_linearity is None else self.non_linearity
        self.scaling = scaling if self.scaling is None else self.scaling
        check_choice("non_linearity", self.non_linearity, list(ACTIVATIONS))
        check_number("scaling", self.scaling)

    def with_model_defaults(self, model: nn.Module) -> Self:
        """With the style's usual places where none are named."""
        targets = self.target_modules
        if targets is None:
            targets = of_family(model, BOTTLENECK[self.style], "target_modules")
        stream.check_untrained(model, targets, self.modules_to_save)
        return replace(self, target_modules=targets)

    def accepts(self, module: nn.Module) -> bool:
        """True for a norm, which shows x, and for a module that maps one tensor to one."""
        if is_norm(module):
            return self.style != "houlsby"
        return stream.is_map(module)

    def sizes(self, module: nn.Module) -> tuple[int, int]:
        """(width of the adapter's input, width of its output)."""
        inside = stream.linear_layers(module)
        in_features, out_features = shape_of(inside[0])[1], shape_of(inside[-1])[0]
        return (in_features if self.style == "parallel" else out_features), out_features

    def checked_against(self, layers: dict[str, nn.Module]) -> Self:
        """The same. Raises ValueError for a norm whose x fits no adapter of its block."""
        adapted = {path: layer for path, layer in layers.items() if not is_norm(layer)}
        stream.check_shown(layers, {path: self.sizes(layer)[0] for path, layer in adapted.items()})
        return self

    def shared(self, layers: dict[str, nn.Module]) -> stream.Stream:
        norms = (path for path, layer in layers.items() if is_norm(layer))
        return stream.Stream(stream.block_of(path) for path in norms)

    def tuner(self, path: str, layer: nn.Module) -> Tuner:
        """The tuner for the module called `path`."""
        if is_norm(layer):
            return stream.StreamReader(stream.block_of(path))
        tuner = BottleneckLayer(*self.sizes(layer), self, stream.block_of(path))
        return tuner.to(**adapter_place(stream.linear_layers(layer)[-1]))


class BottleneckLayer(Tuner):
    """h + s up(act(down(z))), for h = base(x)."""

    why_apart = "a bottleneck adapter is nonlinear: no weight does what up(act(down(z))) does"

    def __init__(self, reads: int, gives: int, config: BottleneckConfig, block: str = "") -> None:
        super().__init__()
        self.adapter_down = nn.Linear(reads, config.bottleneck_size)  # weight (r, d)
        self.adapter_up = nn.Linear(config.bottleneck_size, gives)  # weight (d, r)
        for start in (self.adapter_down.bias, self.adapter_up.weight, self.adapter_up.bias):
            nn.init.zeros_(start)
        self.act = ACTIVATIONS[config.non_linearity]
        self.scaling, self.style = config.scaling, config.style
        self.block, self.shared = block, stream.Stream()

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        shown = self.shared.take(self.block)
        z = h = base(x)  # (..., out)
        if self.style == "parallel":
            z = x if shown is None else shown
        elif self.style == "pfeiffer" and shown is not None:
            z = shown + h
        z = z.to(self.adapter_down.weight.dtype)  # (..., d), 32 bits: the one cast
        change = self.adapter_up(self.act(self.adapter_down(z)))  # (..., out)
        return (h + self.scaling * change).to(h.dtype)
