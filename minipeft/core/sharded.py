"""Tensors that torch's FSDP2 (fully_shard) spread over processes: DTensors, each a shard here.

Putting one together again is a step that all processes take together.
"""

import copy

from torch import Tensor, nn


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on every process: itself where it isn't spread."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def reshard(model: nn.Module) -> None:
    """Have every process hold its part alone: after a forward pass FSDP2 may still hold it all."""
    for module in model.modules():
        if hasattr(module, "reshard"):
            module.reshard()


def copy_into(own: Tensor, tensor: Tensor) -> None:
    """Copy a whole tensor into one that may be spread: this process's part of it."""
    if hasattr(own, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor

        tensor = distribute_tensor(
            whole(tensor).to(own.device, own.dtype), own.device_mesh, own.placements
        )
    own.copy_(tensor)


def place_of(tensor: Tensor) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
    """Equal for two views of the same numbers: address, offset, shape and strides."""
    local = tensor.to_local() if hasattr(tensor, "full_tensor") else tensor
    empty = id(tensor) if not local.numel() else local.untyped_storage().data_ptr()
    return empty, local.storage_offset(), tuple(tensor.shape), tuple(tensor.stride())


def is_spread(module: nn.Module) -> bool:
    """Whether a parameter in a module is spread over processes."""
    return any(hasattr(parameter, "full_tensor") for parameter in module.parameters())


def whole_copy(module: nn.Module) -> nn.Module:
    """The same module with whole, frozen parameters; what isn't spread is shared."""
    twin = copy.copy(module)
    twin._parameters = {
        name: None if own is None else nn.Parameter(whole(own.detach()), requires_grad=False)
        for name, own in module._parameters.items()
    }
    twin._modules = {
        name: None if child is None else whole_copy(child)
        for name, child in module._modules.items()
    }
    return twin
