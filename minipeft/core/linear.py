"""Linear layers of every kind: which they are, and their weight as (out, in)."""

import copy
import math
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minipeft.core.layer import NotMergeable


def is_conv1d(layer: nn.Module) -> bool:
    """GPT-2's linear layer in transformers, whose weight is stored as (in, out)."""
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf")


def is_4bit(layer: nn.Module) -> bool:
    """Our Linear4bit or that of bitsandbytes: the weight is stored as codes of 4 bits."""
    return type(layer).__name__ == "Linear4bit"


def is_linear(layer: nn.Module) -> bool:
    """Whether a module is a linear layer, which every method on layers can adapt."""
    return isinstance(layer, nn.Linear) or is_conv1d(layer) or is_4bit(layer)


def as_out_in(weight: Tensor, layer: nn.Module) -> Tensor:
    """Turn a weight from the layer's own layout to (out, in), or back: a view either way."""
    return weight.T if is_conv1d(layer) else weight


def dense_weight(layer: nn.Module, dtype: torch.dtype | None = None) -> Tensor:
    """The weight of a linear layer as (out, in), dequantized where it has 4 bits.

    dtype: None is its own, for 4 bits that before quantization.
    """
    if not is_4bit(layer):
        return as_out_in(layer.weight.detach(), layer).to(dtype or layer.weight.dtype)
    if hasattr(layer, "dequantize"):
        return layer.dequantize(dtype)
    bitsandbytes = sys.modules["bitsandbytes"]  # whose layer it is
    state = layer.weight.quant_state
    return bitsandbytes.functional.dequantize_4bit(layer.weight.data, state).to(
        dtype or state.dtype
    )


def shape_of(layer: nn.Module) -> tuple[int, int]:
    """(out, in) of a linear layer."""
    if is_4bit(layer):
        return layer.out_features, layer.in_features
    return tuple(as_out_in(layer.weight, layer).shape)


@torch.no_grad()
def check_affine(layer: nn.Module) -> None:
    """Raise NotMergeable unless layer(x) is W x + b with a W that is the layer's own parameter.

    Pruning and weight norm work W out again at each call; a subclass may add an activation.
    """
    if "weight" not in layer._parameters:
        raise NotMergeable(
            f"the weight of {type(layer).__name__} is worked out from "
            f"{', '.join(name for name, _ in layer.named_parameters() if name != 'bias')}, so W' "
            "would be overwritten; first make it final with prune.remove, remove_parametrizations "
            "or the like"
        )
    if is_4bit(layer) or is_conv1d(layer) or type(layer).forward is nn.Linear.forward:
        return
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, shape_of(layer)[1], generator=generator).to(layer.weight)
    right = F.linear(x, layer.weight, layer.bias)
    difference = (type(layer).forward(layer, x) - right).norm()
    if not difference <= 0.05 * right.norm():
        raise NotMergeable(
            f"{type(layer).__name__} is more than W x + b (it has a forward of its own), so no W' "
            "does what the adapter does; keep it unmerged"
        )


def packed_away(model: nn.Module) -> int:
    """The number of weights minus the number of elements of the packed 4-bit parameters."""
    layers = {id(layer): layer for layer in model.modules() if is_4bit(layer)}.values()
    return sum(math.prod(shape_of(layer)) - layer.weight.numel() for layer in layers)


class CastLinear(nn.Linear):
    """A linear layer of 16 bits whose input has any dtype; the output has the input's."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(self.weight.dtype)
        return F.linear(x.to(self.weight.dtype), self.weight, bias).to(x.dtype)


def merged_dtype(layer: nn.Module) -> torch.dtype:
    """The dtype of a merged layer's weight: the layer's own; 16 bits for a 4-bit layer."""
    if not is_4bit(layer):
        return layer.weight.dtype
    wanted = getattr(layer, "compute_dtype", None)
    return wanted if wanted in (torch.float16, torch.bfloat16) else torch.bfloat16


def with_weight(layer: nn.Module, weight: Tensor, bias: nn.Parameter | None) -> nn.Module:
    """A copy of the layer with another weight (out, in); of a 4-bit layer a dense one."""
    stored = as_out_in(weight, layer).to(merged_dtype(layer)).contiguous()
    if is_4bit(layer):
        out_features, in_features = weight.shape
        twin = CastLinear(in_features, out_features, bias=False, device="meta")
    else:
        twin = copy.copy(layer)
        twin._parameters = dict(layer._parameters)
    twin.weight, twin.bias = nn.Parameter(stored, requires_grad=False), bias
    return twin.train(layer.training)


def requantized(layer: nn.Module, weight: Tensor, bias: nn.Parameter | None) -> nn.Module:
    """A copy of a 4-bit layer with another weight (out, in), quantized again as in peft."""
    if hasattr(layer, "requantized"):
        return layer.requantized(weight, bias)
    kept = {name: value for name, value in vars(layer.weight).items() if name[0] != "_"}
    again = kept | {"bnb_quantized": False, "requires_grad": False, "quant_state": None}
    dense = weight.to("cpu", layer.weight.quant_state.dtype).contiguous()
    twin = copy.copy(layer)  # of bitsandbytes
    twin._parameters = dict(layer._parameters)
    twin.weight = type(layer.weight)(dense, **again).to(layer.weight.device)
    twin.bias = bias
    return twin


def adapter_place(layer: nn.Module) -> dict[str, torch.dtype | torch.device]:
    """Device and dtype of an adapter's tensors: 32 bits at least, as 16 lose small steps."""
    weight = next(layer.parameters())
    dtype = weight.dtype if weight.dtype.is_floating_point else torch.float32  # packed 4 bits
    return {"device": weight.device, "dtype": torch.promote_types(dtype, torch.float32)}
