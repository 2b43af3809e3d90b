"""Tensors that torch's FSDP2 (fully_shard) spread over processes: DTensors, each a shard here.

Putting one together again is a step that all processes take together.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


def is_spread(tensor: Tensor | None) -> bool:
    """Whether a tensor is spread over processes."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on every process: itself where it isn't spread."""
    return tensor.full_tensor() if is_spread(tensor) else tensor


def reshard(model: nn.Module) -> None:
    """Have every process hold its part alone: after a forward pass FSDP2 may still hold it all."""
    for module in model.modules():
        if hasattr(module, "reshard"):
            module.reshard()


def copy_into(own: Tensor, tensor: Tensor) -> None:
    """Copy a whole tensor into one that may be spread: this process's part of it."""
    if is_spread(own):
        from torch.distributed.tensor import distribute_tensor

        tensor = distribute_tensor(
            whole(tensor).to(own.device, own.dtype), own.device_mesh, own.placements
        )
    own.copy_(tensor)


def place_of(tensor: Tensor) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
    """Equal for two views of the same numbers: address, offset, shape and strides."""
    local = tensor.to_local() if is_spread(tensor) else tensor
    empty = id(tensor) if not local.numel() else local.untyped_storage().data_ptr()
    return empty, local.storage_offset(), tuple(tensor.shape), tuple(tensor.stride())


@contextmanager
def gathered(model: nn.Module, layers: Iterable[nn.Module]) -> Iterator[None]:
    """Within the block the parameters of a model's adapted layers are whole, on every process.

    What is put in the place of one within the block is spread again after it.
    """
    reshard(model)
    modules = {id(module): module for layer in layers for module in with_unmerged(layer)}.values()
    spread = [(m, n, p) for m in modules for n, p in m._parameters.items() if is_spread(p)]
    held = [nn.Parameter(whole(p.detach()), requires_grad=False) for _, _, p in spread]
    for (module, name, _), parameter in zip(spread, held, strict=True):
        module._parameters[name] = parameter
    try:
        yield
    finally:
        for (module, name, own), parameter in zip(spread, held, strict=True):
            if module._parameters[name] is not parameter:
                copy_into(own.detach(), module._parameters[name].detach())
            module._parameters[name] = own


def with_unmerged(layer: nn.Module) -> Iterator[nn.Module]:
    """The modules of an adapted layer, those of its original while it is merged among them."""
    yield from layer.modules()
    for own in layer.unmerged_layer:
        yield from own.modules()
