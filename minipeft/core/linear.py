"""What counts as a linear layer, and its weight as (out, in) whatever the layer's own layout."""

import copy
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def is_conv1d(layer: nn.Module) -> bool:
    """GPT-2's linear layer in transformers, whose weight is stored as (in, out)."""
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf")


def is_packed(layer: nn.Module) -> bool:
    """Our Linear4bit or that of bitsandbytes: the weight is stored as codes of 4 bits."""
    return type(layer).__name__ == "Linear4bit"


def is_linear(layer: nn.Module) -> bool:
    """Whether a tuner can sit on this layer."""
    return isinstance(layer, nn.Linear) or is_conv1d(layer) or is_packed(layer)


def oriented(weight: Tensor, layer: nn.Module) -> Tensor:
    """Turn a weight from the layer's own layout to (out, in), or back: a view either way."""
    return weight.T if is_conv1d(layer) else weight


def dense_weight(layer: nn.Module, dtype: torch.dtype | None = None) -> Tensor:
    """The weight of a linear layer as (out, in); 4 bits are unpacked for it.

    dtype: None is its own, for 4 bits that before quantization.
    """
    if not is_packed(layer):
        return oriented(layer.weight.detach(), layer).to(dtype or layer.weight.dtype)
    if hasattr(layer, "dequantize"):
        return layer.dequantize(dtype)
    bitsandbytes = sys.modules["bitsandbytes"]  # whose layer it is
    state = layer.weight.quant_state
    return bitsandbytes.functional.dequantize_4bit(layer.weight.data, state).to(
        dtype or state.dtype
    )


def frozen_product(layer: nn.Module, x: Tensor) -> bool:
    """Whether layer(x) is x W^T + b in x's dtype and dx is dh W, with nothing else to it.

    Not so where the layer has a forward of its own or a hook, or where part of it is trained.
    """
    packed, bias = is_packed(layer), layer.bias
    if not (packed or type(layer).forward is nn.Linear.forward):  # Conv1D's W^T lies otherwise
        return False
    if layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer):
        return False
    if layer.weight.requires_grad or (bias is not None and bias.requires_grad):
        return False
    # Under autocast it computes in another dtype; the meta device has no autocast.
    if not x.is_meta and torch.is_autocast_enabled(x.device.type):
        return False
    computes_in = layer.compute_dtype or x.dtype if packed else layer.weight.dtype
    return computes_in == x.dtype and x.dim() > 1


def shape_of(layer: nn.Module) -> tuple[int, int]:
    """(out, in) of a linear layer."""
    if is_packed(layer):
        return layer.out_features, layer.in_features
    return tuple(oriented(layer.weight, layer).shape)


class CastLinear(nn.Linear):
    """A linear layer of 16 bits that takes an input of any dtype and gives its output in that."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(self.weight.dtype)
        return F.linear(x.to(self.weight.dtype), self.weight, bias).to(x.dtype)


def merged_dtype(layer: nn.Module) -> torch.dtype:
    """The dtype of a layer's weight once it is merged: its own, and 16 bits where it has 4."""
    if not is_packed(layer):
        return layer.weight.dtype
    wanted = getattr(layer, "compute_dtype", None)
    return wanted if wanted in (torch.float16, torch.bfloat16) else torch.bfloat16


def with_weight(layer: nn.Module, weight: Tensor, bias: nn.Parameter | None) -> nn.Module:
    """A twin of the layer that holds another weight (out, in); one of 4 bits gets a dense twin."""
    stored = oriented(weight, layer).to(merged_dtype(layer)).contiguous()
    if is_packed(layer):
        out_features, in_features = weight.shape
        twin = CastLinear(in_features, out_features, bias=False, device="meta")
    else:
        twin = copy.copy(layer)
        twin._parameters = dict(layer._parameters)
    twin.weight, twin.bias = nn.Parameter(stored, requires_grad=False), bias
    return twin.train(layer.training)


def adapter_place(layer: nn.Module) -> dict[str, torch.dtype | torch.device]:
    """Device and dtype of an adapter's tensors: 32 bits at least, small steps are lost in 16."""
    weight = next(layer.parameters())
    dtype = weight.dtype if weight.dtype.is_floating_point else torch.float32  # packed 4 bits
    return {"device": weight.device, "dtype": torch.promote_types(dtype, torch.float32)}
