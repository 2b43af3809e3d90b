"""Diff pruning: h = W0 x + (z * w) x, a difference z * w (out, in) that learns to be mostly zero.

Guo, Rush and Kim 2021, "Parameter-Efficient Transfer Learning with Diff Pruning", section 3: one
gate z for each entry (hard_concrete.py) times, with `structured`, one for the whole matrix (3.2).
Trained: w and alpha of z (out, in each) and the matrix's alpha, at a price on non-zeros, `penalty`.
Then `prune` (3.3) keeps the k largest entries: k are trained and saved, where all were before.
"""

from dataclasses import dataclass, field, replace
from math import inf, prod
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minipeft.core.config import LayerConfig
from minipeft.core.errors import check_choice, check_number, check_whole
from minipeft.core.layer import Tuner
from minipeft.core.linear import adapter_place, shape_of
from minipeft.methods.hard_concrete import LIMITS, HardConcrete


@dataclass
class DiffPruningConfig(LayerConfig):
    """Options of diff pruning, with the paper's values; which layers: see LayerConfig.

    sparsity_penalty: lambda, what each expected non-zero adds to the loss.
    structured: also a gate for each matrix, so that some can stay as they are.
    alpha_init: where every alpha starts; at 5 nearly all gates are open.
    concrete_lower, concrete_upper: l < 0 and r > 1; the wider, the more gates are 0 or 1 itself.
    temperature: beta > 0 of the gates while training; Louizos et al. take 2/3.
    nonzeros: how many entries of each layer `prune` kept; it writes this.

    Raises ValueError for a value out of range.
    """

    sparsity_penalty: float = 1.25e-7
    structured: bool = True
    alpha_init: float = 5.0
    concrete_lower: float = -1.5
    concrete_upper: float = 1.5
    temperature: float = 1.0
    nonzeros: dict[str, int] = field(default_factory=dict)

    peft_type: ClassVar[str] = "DIFF_PRUNING"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("structured", self.structured, [True, False])
        for name, (smallest, largest) in (LIMITS | {"sparsity_penalty": (0, inf)}).items():
            check_number(name, value := getattr(self, name))
            if not smallest <= value <= largest:
                raise ValueError(f"{name}={value!r} must be in [{smallest}, {largest}]")
        for path, k in self.nonzeros.items():
            check_whole(f"nonzeros[{path!r}]", k, 0)

    def checked_against(self, layers: dict[str, nn.Module]) -> Self:
        if self.nonzeros:
            raise ValueError(f"nonzeros={self.nonzeros!r} is what prune() writes; leave it out")
        return self

    def tuner(self, path: str, layer: nn.Module) -> "DiffLayer":
        """Gates to be learned, or room for what `prune` kept."""
        k, shape = self.nonzeros.get(path, 0), shape_of(layer)
        tuner = SparseDiffLayer(shape, k) if self.nonzeros else DiffPruningLayer(shape, self)
        return tuner.to(**adapter_place(layer))


class DiffLayer(Tuner):
    """h = W0 x + d x, for x (..., in) and the difference d (out, in) that `diff(noisy)` gives."""

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        h, d = base(x), self.diff(noisy=self.training)
        return (h + F.linear(x.to(d.dtype), d)).to(h.dtype)  # 32 bits: the one cast

    def merged(self, weight: Tensor) -> Tensor:
        return weight + self.diff().to(weight)


class DiffPruningLayer(DiffLayer):
    """d = z * w, and z is the gate of the entry, (out, in), times that of its matrix, (1,)."""

    def __init__(self, shape: tuple[int, int], config: DiffPruningConfig) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(shape))  # step 0 is the base, bit for bit
        limits = (config.concrete_lower, config.concrete_upper, config.temperature)
        shapes = [shape, (1,)] if config.structured else [shape]
        self.gates = nn.ModuleList(HardConcrete(s, config.alpha_init, *limits) for s in shapes)
        self.sparsity_penalty = config.sparsity_penalty

    def diff(self, noisy: bool = False) -> Tensor:
        """d with noise in its gates, for training, or as it is used and merged: without."""
        return prod([gate(noisy) for gate in self.gates], start=self.w)

    def expected_nonzeros(self) -> Tensor:
        """The mean number of open gates, E |d|_0, a scalar."""
        return prod(gate.chance() for gate in self.gates).sum()

    def penalty(self) -> Tensor:
        return self.sparsity_penalty * self.expected_nonzeros()


class SparseDiffLayer(DiffLayer):
    """d is zero but for `values` (k,) at `positions` (k,) of the flattened matrix."""

    def __init__(self, shape: tuple[int, int], k: int) -> None:
        super().__init__()
        self.shape = shape
        self.values = nn.Parameter(torch.zeros(k))
        self.register_buffer("positions", torch.zeros(k, dtype=torch.int32))

    def diff(self, noisy: bool = False) -> Tensor:
        d = self.values.new_zeros(prod(self.shape))
        return d.index_put((self.positions,), self.values).view(self.shape)

    def file_tensors(self) -> dict[str, Tensor]:
        return super().file_tensors() | {"positions": self.positions}


@torch.no_grad()
def prune(adapter: Any, keep: float) -> int:
    """Keep the largest entries of an adapter's differences, a share `keep` of all (3.3 has 0.005).

    adapter: `model.adapters[name]`. Returns how many are left: new parameters, for a new optimizer.
    Raises TypeError for another method, ValueError unless 0 < keep <= 1, RuntimeError if merged.
    """
    if not isinstance(getattr(adapter, "config", None), DiffPruningConfig):
        raise TypeError(f"prune() takes model.adapters[name] of DIFF_PRUNING, not {adapter!r:.60}")
    if type(keep) not in (int, float) or not 0 < keep <= 1:
        raise ValueError(f"keep={keep!r} must be a share in (0, 1], say 0.005")
    if adapter.merged:
        raise RuntimeError("the adapter is merged: unmerge_adapter() comes first")
    diffs = {path: tuner.diff().flatten() for path, tuner in adapter.tuners.items()}
    sizes = torch.cat([diff.abs().cpu() for diff in diffs.values()])
    least = sizes.topk(max(1, int(keep * len(sizes)))).values[-1].clamp(min=1e-30).item()
    places = {path: (diff.abs() >= least).nonzero().flatten() for path, diff in diffs.items()}
    adapter.config = replace(adapter.config, nonzeros={k: len(v) for k, v in places.items()})
    for path, layer in adapter.layers.items():
        trained = next(layer.tuner.parameters()).requires_grad
        layer.tuner = adapter.config.tuner(path, layer.base_layer).requires_grad_(trained)
        layer.tuner.positions.copy_(places[path])
        layer.tuner.values.copy_(diffs[path][places[path]])
    return sum(adapter.config.nonzeros.values())
