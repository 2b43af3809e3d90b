"""Many adapters in one batch: sample i goes through adapter `adapter_names[i]`.

    h_i = W0 x_i + B[a_i] A[a_i] x_i

All A of a layer are stacked into one tensor (adapters, r, in) and all B into one (adapters, out,
r), shorter ranks filled up with zeros; slot 0 is all zeros, for the bare base. Each sample takes
its pair by its index, and two batched products do the rest: no loop over adapters, and W0 is read
once for all. Chen et al. 2023, "Punica"; Sheng et al. 2023, "S-LoRA".
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from minipeft.adapter import Adapter
from minipeft.methods.tuner import Tuner
from minipeft.swaps import Swap

BASE = "__base__"


class MixedLinear(nn.Module):
    """One linear layer under several low-rank tuners, a pair of factors for each sample.

    A (batch, in, r), B (batch, r, out): each sample's own. forward: x (batch, ..., in), or with
    batch and length in one dimension, -> (..., out).
    """

    def __init__(self, base_layer: nn.Module, A: Tensor, B: Tensor) -> None:
        super().__init__()
        self.base_layer, self.A, self.B = base_layer, A, B

    def forward(self, x: Tensor) -> Tensor:
        h = self.base_layer(x)
        samples = len(self.A)
        if len(x) % samples:
            raise ValueError(f"{samples} adapter_names don't fit a batch of {len(x)} samples")
        rows = x.reshape(samples, -1, x.shape[-1]).to(self.A.dtype)  # (batch, length, in)
        wide = h.reshape(samples, -1, h.shape[-1]).to(self.A.dtype)
        return torch.baddbmm(wide, rows @ self.A, self.B).to(h.dtype).view_as(h)


class Mixture:
    """The layers of some adapters, stacked for one list of names, ready to stand in the model.

    Raises ValueError for an adapter that is more than low-rank updates of linear layers.
    """

    def __init__(self, adapters: dict[str, Adapter], names: list[str]) -> None:
        for name, adapter in adapters.items():
            check_mixable(name, adapter)
        self.names, self.made_from = names, state_of(adapters)
        self.swaps: list[tuple[Swap, MixedLinear]] = []
        for path in dict.fromkeys(path for adapter in adapters.values() for path in adapter.layers):
            here = {name: adapter for name, adapter in adapters.items() if path in adapter.layers}
            A, B = stacked([adapter.tuners[path] for adapter in here.values()])
            slots = {name: slot for slot, name in enumerate(here, 1)}
            index = [slots.get(name, 0) for name in names]
            swap = next(iter(here.values())).swaps[path]
            self.swaps.append((swap, MixedLinear(swap.base, A[index], B[index])))

    def outdated(self, adapters: dict[str, Adapter], names: list[str]) -> bool:
        """Whether these names ask for another mixture, or an adapter has changed since."""
        now = {name: adapters[name] for name in names if name in adapters}
        return list(names) != self.names or state_of(now) != self.made_from

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Within the block these layers stand in the model, in place of the base's."""
        try:
            for swap, layer in self.swaps:
                swap.put(layer)
            yield
        finally:
            for swap, _ in self.swaps:
                swap.put(swap.base)


@torch.no_grad()
def stacked(tuners: list[Tuner]) -> tuple[Tensor, Tensor]:
    """A (1 + adapters, in, r) and B (1 + adapters, r, out) of one layer; slot 0 is zero."""
    pairs = [tuner.factors() for tuner in tuners]
    A, B = pairs[0]
    r = max(len(A) for A, _ in pairs)
    all_A = A.new_zeros(1 + len(pairs), A.shape[1], r)
    all_B = B.new_zeros(1 + len(pairs), r, B.shape[0])
    for slot, (A, B) in enumerate(pairs, 1):
        all_A[slot, :, : len(A)], all_B[slot, : len(A)] = A.T, B.T
    return all_A, all_B


def state_of(adapters: dict[str, Adapter]) -> list[tuple[int, int, int]]:
    """Equal as long as no value of these adapters has changed or moved."""
    tuners = [tuner for adapter in adapters.values() for tuner in adapter.tuners.values()]
    parameters = [parameter for tuner in tuners for parameter in tuner.parameters()]
    return [(id(p), p.data_ptr(), p._version) for p in parameters]


def check_mixable(name: str, adapter: Adapter) -> None:
    """Raise ValueError unless the adapter is low-rank updates of linear layers and nothing else."""
    low_rank = all(type(tuner).factors is not Tuner.factors for tuner in adapter.tuners.values())
    if not low_rank or adapter.prompt is not None or len(adapter.layers) < len(adapter.swaps):
        raise ValueError(
            f"adapter_names: {name!r} ({adapter.config.peft_type}) is more than low-rank updates "
            "of linear layers (it scales them, or trains biases, modules_to_save or a prompt), so "
            "it can't share a batch with others; run its samples in a batch of their own"
        )
