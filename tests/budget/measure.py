"""Measuring what training really keeps: bytes of tensors, counted by their storage."""

from collections.abc import Iterable
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """The bytes of these tensors; those that share a storage count once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


@contextmanager
def saved_tensors(model: nn.Module):
    """Collects what autograd saves within the block, without the model's own tensors."""
    own = [*model.parameters(), *model.buffers()]
    known = {tensor.untyped_storage().data_ptr() for tensor in own}
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in known:
            saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved
