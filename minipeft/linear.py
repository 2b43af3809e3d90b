"""What counts as a linear layer, and its weight as (out, in) whatever the layer's own layout."""

import torch
from torch import Tensor, nn


def is_conv1d(layer: nn.Module) -> bool:
    """GPT-2's linear layer in transformers, whose weight is stored as (in, out)."""
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf")


def is_linear(layer: nn.Module) -> bool:
    """Whether a tuner can sit on this layer."""
    return isinstance(layer, nn.Linear) or is_conv1d(layer)


def oriented(weight: Tensor, layer: nn.Module) -> Tensor:
    """Turn a weight from the layer's own layout to (out, in), or back: a view either way."""
    return weight.T if is_conv1d(layer) else weight


def dense_weight(layer: nn.Module) -> Tensor:
    """The weight of a linear layer as (out, in)."""
    return oriented(layer.weight.detach(), layer)


def shape_of(layer: nn.Module) -> tuple[int, int]:
    """(out, in) of a linear layer."""
    return tuple(oriented(layer.weight, layer).shape)


def adapter_place(layer: nn.Module) -> dict[str, torch.dtype | torch.device]:
    """Device and dtype of an adapter's tensors: 32 bits at least, small steps are lost in 16."""
    weight = next(layer.parameters())
    dtype = weight.dtype if weight.dtype.is_floating_point else torch.float32  # packed 4 bits
    return {"device": weight.device, "dtype": torch.promote_types(dtype, torch.float32)}
