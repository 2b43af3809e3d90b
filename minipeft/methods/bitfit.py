"""BitFit: h = W0 x + b, and in the whole model nothing but the biases b is trained.

Ben Zaken et al. 2022, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based
Masked Language-models", section 3. Trained: every bias vector, those of LayerNorms and of BERT's
pooler among them, and (with `task_type` or `modules_to_save`) the task's new head, as the paper
does. Where a chosen layer has no bias, as in Llama or T5, it gets a new one that starts at zero.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from minipeft.core.config import LayerConfig
from minipeft.core.layer import Tuner
from minipeft.core.linear import adapter_place, shape_of


@dataclass
class BitFitConfig(LayerConfig):
    """Options of BitFit: which layers' biases; see LayerConfig for the ways to name them.

    target_modules: None trains all the biases there are. Else only those of the named modules,
        LayerNorms too; a linear layer without a bias gets one. BERT's strongest two (the paper's
        section 4) are ["query", "intermediate.dense"], Llama's way is "all-linear".

    Biases that exist are trained in place, in the base's own dtype. Raises ValueError for a model
    without biases and no targets, and for options that mean nothing here.
    """

    peft_type: ClassVar[str] = "BITFIT"
    needs_targets: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bias != "none":
            raise ValueError(
                f"bias={self.bias!r} is no option of BitFit, which trains biases anyway: leave it "
                "'none'; target_modules=None trains them all, a list only those"
            )
        for name in ("exclude_modules", "layers_to_transform"):
            value = getattr(self, name)
            if self.target_modules is None and value is not None and value != []:
                raise ValueError(
                    f"{name}={value!r} picks among the target_modules, and there are none; "
                    "name some, such as target_modules='all-linear'"
                )

    def with_model_defaults(self, model: nn.Module) -> Self:
        biases = (
            is_bias(module, name) for module in model.modules() for name in module._parameters
        )
        if self.target_modules is None and not any(biases):
            raise ValueError(
                f"target_modules=None: {type(model).__name__} has no bias to train; name the "
                "layers that get one, or choose target_modules='all-linear'"
            )
        return self

    def trains(self, path: str, module: nn.Module, name: str, targeted: bool) -> bool:
        return is_bias(module, name) and (self.target_modules is None or targeted)

    def accepts(self, module: nn.Module) -> bool:
        return is_bias(module, "bias")

    def tuner(self, path: str, layer: nn.Module) -> "BitFitLayer | None":
        """A new bias for a layer that has none."""
        if layer.bias is not None:
            return None
        return BitFitLayer(shape_of(layer)[0]).to(**adapter_place(layer))


def is_bias(module: nn.Module, name: str) -> bool:
    """Whether a module's own parameter is a bias: tables of position biases are no vectors."""
    parameter = module._parameters.get(name)
    return parameter is not None and "bias" in name and parameter.dim() == 1


class BitFitLayer(Tuner):
    """h = W0 x + b for a layer without a bias of its own; x (..., in), b (out,)."""

    def __init__(self, out_features: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(out_features))  # step 0 is the base, bit for bit

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        h = base(x)  # (..., out)
        return (h + self.bias).to(h.dtype)

    def merged(self, weight: Tensor) -> Tensor:
        return weight

    def merged_bias(self, bias: Tensor | None) -> Tensor:
        return (
            self.bias.detach().clone()
        )  # BitFitConfig.tuner makes one only where the base has no bias
