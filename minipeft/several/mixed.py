"""Many adapters in one batch: sample i goes through adapter `adapter_names[i]`.

    h_i = W0 x_i + B[a_i] A[a_i] x_i

All A of a layer are stacked into one tensor (adapters, r, in) and all B into one (adapters, r,
out), shorter ranks filled up with zeros; slot 0 is all zeros, for the bare base. Each sample takes
its pair by its index, and two batched products do the rest: no loop over adapters, and W0 is read
once for all. Chen et al. 2023, "Punica"; Sheng et al. 2023, "S-LoRA".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from minipeft.core.adapter import Adapter
from minipeft.core.effective import EffectiveTensor
from minipeft.core.layer import Tuner
from minipeft.core.replacements import Replacement
from minipeft.several.layout import check_names, check_sample_after_sample

BASE = "__base__"


class MixedLinear(nn.Module):
    """One linear layer under several low-rank tuners, a pair of factors for each sample.

    A (batch, r, in), B (batch, r, out): each sample's own. forward: x (batch, ..., in), or with
    batch and length in one dimension, -> (..., out).
    in_blocks: whether x is known to hold its rows sample after sample; see layout.py.
    """

    def __init__(self, base_layer: nn.Module, A: Tensor, B: Tensor, in_blocks: bool) -> None:
        super().__init__()
        self.base_layer, self.A, self.B, self.in_blocks = base_layer, A, B, in_blocks

    @property
    def weight(self) -> Tensor:
        """W0 for code that asks for its dtype. A product past `forward` raises ValueError."""
        return EffectiveTensor.of(self.base_layer.weight, self.no_weight)

    @property
    def bias(self) -> Tensor | None:
        return self.base_layer.bias

    def no_weight(self) -> Tensor:
        raise ValueError(
            "adapter_names: this model reads a layer's weight past its forward, where each sample "
            "has another; run each adapter's samples in a batch of their own"
        )

    def forward(self, x: Tensor) -> Tensor:
        samples = len(self.A)
        if len(x) % samples or not (self.in_blocks or samples == 1):
            raise ValueError(
                f"adapter_names: {samples} samples and {len(x)} rows, which this layer may not "
                "read sample after sample; run each adapter's samples in a batch of their own"
            )
        h = self.base_layer(x)
        rows = x.reshape(samples, -1, x.shape[-1]).to(self.A.dtype)  # (batch, length, in)
        wide = h.reshape(samples, -1, h.shape[-1]).to(self.A.dtype)
        low = rows @ self.A.mT  # (batch, length, r)
        # In place where neither autograd nor a hook reads h: half the memory traffic.
        needed = h.requires_grad or self.base_layer._forward_hooks
        add = torch.baddbmm if needed else Tensor.baddbmm_
        return add(wide, low, self.B).to(h.dtype).view_as(h)


@dataclass
class Stack:
    """The pairs of one layer: A (1 + adapters, r, in), B (1 + adapters, r, out); slot 0 is zero."""

    path: str
    replacement: Replacement
    slots: dict[str, int]  # by adapter
    A: Tensor
    B: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, path: str, replacement: Replacement, tuners: dict[str, Tuner]) -> Self:
        all_A, all_B = zip(*(tuner.factors() for tuner in tuners.values()), strict=True)
        no_A, no_B = all_A[0].new_zeros(1, all_A[0].shape[1]), all_B[0].new_zeros(1, len(all_B[0]))
        A = pad_sequence([no_A, *all_A], batch_first=True)
        B = pad_sequence([no_B, *(B.T for B in all_B)], batch_first=True)
        return cls(path, replacement, {name: slot for slot, name in enumerate(tuners, 1)}, A, B)

    def layer(self, names: list[str], in_blocks: bool) -> MixedLinear:
        """The layer for a batch with these names."""
        slots = torch.tensor([self.slots.get(name, 0) for name in names], device=self.A.device)
        A, B = self.A.index_select(0, slots), self.B.index_select(0, slots)
        return MixedLinear(self.replacement.base, A, B, in_blocks)


class Mixture:
    """Some adapters, stacked, from which each list of their names takes its pairs A, B.

    Raises ValueError for an adapter that is more than low-rank updates of linear layers.
    """

    def __init__(self, adapters: dict[str, Adapter]) -> None:
        tuners: dict[str, dict[str, Tuner]] = {}  # by layer, then by adapter
        replacements: dict[str, Replacement] = {}
        for name, adapter in adapters.items():
            check_mixable(name, adapter)
            replacements |= adapter.replacements
            for path, tuner in adapter.tuners.items():
                tuners.setdefault(path, {})[name] = tuner
        self.adapters, self.places = adapters, places_of(adapters)
        self.made_from = state_of(self.places), settings_of(adapters), values_of(self.places)
        self.stacks = [Stack.of(path, replacements[path], here) for path, here in tuners.items()]
        self.names: list[str] = []
        self.layers: list[MixedLinear] = []  # for these names

    def outdated(self, adapters: dict[str, Adapter]) -> bool:
        """Whether one of these adapters is not among the stacked ones, or has changed since."""
        here = all(self.adapters.get(name) is adapter for name, adapter in adapters.items())
        state, settings, values = self.made_from
        if not here or state_of(self.places) != state or settings_of(self.adapters) != settings:
            return True
        now = values_of(self.places)  # p.data.mul_(2) leaves no trace but the values
        return not all(torch.equal(now[device], values[device]) for device in values)

    def unknown_layout(self, probed: frozenset[str]) -> dict[str, nn.Module]:
        """The base's layers that are not among those already asked how they read a batch."""
        paths = {stack.path: stack.replacement.base for stack in self.stacks}
        return {path: layer for path, layer in paths.items() if path not in probed}

    @contextmanager
    def attached(self, names: list[str], in_blocks: frozenset[str]) -> Iterator[None]:
        """Within the block the base has the layers for these names in place of its own."""
        if names != self.names:
            self.names = list(names)
            self.layers = [stack.layer(names, stack.path in in_blocks) for stack in self.stacks]
        try:
            for stack, layer in zip(self.stacks, self.layers, strict=True):
                stack.replacement.put(layer)
            yield
        finally:
            for stack in self.stacks:
                stack.replacement.put(stack.replacement.base)


class MixedBatches:
    """The adapters that a model last mixed, and what is known of its layers' inputs.

    mixture: those adapters, stacked. probed: the layers that were asked how they read a batch.
    in_blocks: those of them that read it sample after sample.
    """

    def __init__(self) -> None:
        self.mixture: Mixture | None = None
        self.probed: frozenset[str] = frozenset()
        self.in_blocks: frozenset[str] = frozenset()

    @contextmanager
    def within(
        self,
        base: nn.Module,
        adapters: dict[str, Adapter],
        names: list[str],
        inputs: tuple,
        options: dict[str, Any],
    ) -> Iterator[None]:
        """Within the block sample i of a call of the bare base goes through adapter `names[i]`.

        adapters: those of these names. inputs, options: of the call. Raises ValueError as
        check_names, Mixture and check_sample_after_sample.
        """
        check_names(base, names, inputs, options)
        if self.mixture is None or self.mixture.outdated(adapters):
            self.mixture = Mixture(adapters)
        unknown = self.mixture.unknown_layout(self.probed)
        if unknown and len(names) > 1:
            reached = check_sample_after_sample(base, unknown, inputs, options)
            self.in_blocks, self.probed = self.in_blocks | reached, self.probed | {*unknown}
        with self.mixture.attached(names, self.in_blocks):
            yield


def places_of(adapters: dict[str, Adapter]) -> list[tuple[dict[str, Tensor], str]]:
    """The tensors of these adapters, each as (dict of a module's parameters or buffers, name)."""
    tuners = [tuner for adapter in adapters.values() for tuner in adapter.tuners.values()]
    modules = {id(module): module for tuner in tuners for module in tuner.modules()}.values()
    owners = [tensors for m in modules for tensors in (m._parameters, m._buffers)]
    return [(owner, name) for owner in owners for name in owner]


def state_of(places: list[tuple[dict[str, Tensor], str]]) -> list[tuple[int, int, int]]:
    """Equal as long as no tensor was replaced, or changed with autograd's knowledge."""
    tensors = [owner[name] for owner, name in places if owner[name] is not None]
    return [(id(tensor), tensor.data_ptr(), tensor._version) for tensor in tensors]


@torch.no_grad()
def values_of(places: list[tuple[dict[str, Tensor], str]]) -> dict[torch.device, Tensor]:
    """A flat copy of the numbers of these tensors, by device."""
    flat: dict[torch.device, list[Tensor]] = {}
    for owner, name in places:
        if owner[name] is not None:
            flat.setdefault(owner[name].device, []).append(owner[name].reshape(-1))
    return {device: torch.cat(tensors) for device, tensors in flat.items()}


def settings_of(adapters: dict[str, Adapter]) -> list[float]:
    """The scales and the like of the tuners."""
    tuners = (tuner for adapter in adapters.values() for tuner in adapter.tuners.values())
    return [v for tuner in tuners for v in vars(tuner).values() if isinstance(v, float)]


def check_mixable(name: str, adapter: Adapter) -> None:
    """Raise ValueError unless the adapter is low-rank updates of linear layers and nothing else."""
    if not adapter.is_low_rank:
        raise ValueError(
            f"adapter_names: {name!r} ({adapter.config.peft_type}) is more than low-rank updates "
            "of linear layers (it scales them, or trains biases, modules_to_save or a prompt), so "
            "it can't share a batch with others; run its samples in a batch of their own"
        )
