"""The most memory that tensors take at once during a call, from the allocator's own ledger.

On a CPU the profiler lists each allocation and release; their running sum has a highest point.
That counts everything: what waits for the backward pass, gradients, and the temporaries inside
operations. On a GPU the caching allocator keeps the same figure itself.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minipeft.course.lessons.memory import allocations


@dataclass(frozen=True)
class Peak:
    """Bytes: `lying` there before the call, and how many `beyond` them at the highest point."""

    lying: int
    beyond: int

    @property
    def total(self) -> int:
        return self.lying + self.beyond


def peak(call: Callable[[], object], held: Iterable[Tensor], device: str = "cpu") -> Peak:
    """The peak of one call. held: the tensors there before, such as `held_by` lists.

    Call it once before: the first call may set up what stays.
    """
    lying = bytes_of(held)
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return Peak(lying, torch.cuda.max_memory_allocated() - before)
    # twice, so that what the second call releases was seen coming
    course = allocations({"once": call, "again": call})["again"]
    return Peak(lying, max(course) - course[0])


def held_by(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Iterator[Tensor]:
    """Parameters, buffers and the optimizer's states."""
    yield from model.parameters()
    yield from model.buffers()
    for state in optimizer.state.values() if optimizer is not None else ():
        yield from (value for value in state.values() if isinstance(value, Tensor))


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of the memory behind the tensors, each piece once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors}
    return sum(storage.nbytes() for storage in storages.values())
