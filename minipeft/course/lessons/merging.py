"""What lesson 12 measures of a merge: losses, and what rounding leaves of an update.

A merge stores W0 + D in some number format. What lands there of the update D splits into two parts
that are at right angles to each other:

    landed = k D + noise,    k = <landed, D> / ||D||^2

1 - k is the share of the update that is erased. What takes longer than a lesson is recorded; see
`merging_recorded`.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from minipeft import (
    AdaptedLinear,
    PeftConfig,
    PeftModel,
    get_peft_model,
    set_peft_model_state_dict,
)
from minipeft.core.errors import check_choice
from minipeft.course.base import load_base
from minipeft.course.batches import floor, make_batches
from minipeft.course.lab.train import evaluate
from minipeft.course.lessons.merging_recorded import cuts, merges_by_rate
from minipeft.course.tasks import task
from minipeft.course.world import World
from minipeft.quant.nf4 import dequantize, quantize

__all__ = [
    "Bench",
    "Landed",
    "attached",
    "attention_maps",
    "attention_moved",
    "cost_of_a_token",
    "cuts",
    "flat",
    "landed",
    "landed_by_size",
    "layers_of",
    "matrices",
    "merges_by_rate",
    "random_update",
    "size",
    "stored",
    "updates_of",
]

Weights = Mapping[str, Tensor]  # the matrices of a model (out, in), by the path of their layer


class Bench:
    """One task and the base's own world, to measure what a network learned and what it forgot.

    task: what is trained on. W0: the base's matrices.
    test_batches, texts: how much of the task (8 texts a batch) and of the world to measure on.
    """

    def __init__(self, name: str, seed: int = 0, test_batches: int = 16, texts: int = 128) -> None:
        self.task = task(name, seed=seed, batch_size=8, test_batches=test_batches)
        self.plain, tokenizer = load_base()
        self.W0 = matrices(self.plain)
        unseen = World(seed=0).documents(texts, seed=10**9)
        self.own = make_batches(tokenizer, unseen, batch_size=8)
        self.own_floor = floor(unseen, self.own)

    def losses(self, network: nn.Module) -> tuple[float, float]:
        """Nats above the floor: (new task, own world)."""
        return self.learned(network), evaluate(network, self.own) - self.own_floor

    def learned(self, network: nn.Module) -> float:
        """Nats above the new task's floor."""
        return evaluate(network, self.task.test) - self.task.floor

    @torch.no_grad()
    def put(self, weights: Weights) -> nn.Module:
        """The plain base with these matrices in place of its own, the others as they were."""
        for path, weight in {**self.W0, **weights}.items():
            self.plain.get_submodule(path).weight.copy_(weight)
        return self.plain


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weight of each linear layer but the head."""
    linear = {path: m for path, m in model.named_modules() if isinstance(m, nn.Linear)}
    return {path: m.weight.detach().clone() for path, m in linear.items() if path != "lm_head"}


def layers_of(network: PeftModel) -> dict[str, AdaptedLinear]:
    """The adapted layers by their path in the base."""
    modules = network.get_base_model().named_modules()
    return {path: module for path, module in modules if isinstance(module, AdaptedLinear)}


def updates_of(network: PeftModel) -> dict[str, Tensor]:
    """s B A of each layer with a LoRA, (out, in)."""
    pairs = {path: layer.tuner.factors() for path, layer in layers_of(network).items()}
    return {path: (B @ A).detach() for path, (A, B) in pairs.items()}


def attached(network: nn.Module, config: PeftConfig, tensors: Mapping[str, Tensor]) -> PeftModel:
    """A network with an adapter of these tensors, as a file of it holds them, in eval mode."""
    carrier = get_peft_model(network, config)
    set_peft_model_state_dict(carrier, dict(tensors))
    return carrier.eval()


def flat(weights: Weights) -> Tensor:
    """All matrices as one row, for norms and angles over a whole model."""
    return torch.cat([weight.flatten() for weight in weights.values()])


def size(weights: Weights) -> float:
    """The Frobenius norm of all matrices taken as one."""
    return flat(weights).norm().item()


def random_update(weight: Tensor, rank: int, relative: float) -> Tensor:
    """A random update of this rank, `relative` times as large as the weight."""
    drawn = torch.randn(len(weight), rank) @ torch.randn(rank, weight.shape[1])
    return drawn * (relative * weight.norm() / drawn.norm())


class Products(TorchFunctionMode):
    """A context in which matrix products of linear layers, merged or not, are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += function in (F.linear, Tensor.addmm_)
        return function(*args, **(kwargs or {}))


@torch.no_grad()
def cost_of_a_token(network: nn.Module, tries: int = 30) -> tuple[int, float]:
    """(matrix products of the linear layers, milliseconds at the fastest) for one token."""
    token, times = torch.zeros(1, 1, dtype=torch.long), []
    with Products() as products:
        network(token)
    for _ in range(tries):
        began = time.perf_counter()
        network(token)
        times.append(time.perf_counter() - began)
    return products.count, 1000 * min(times)


FORMATS = ("bf16", "int8", "nf4", "int4")  # 16, 8, 4 and 4 bits for a weight


@dataclass(frozen=True)
class Landed:
    """What of an update is in the stored weights.

    kept: k above; 1 where all of it is there, 0 where nothing is.
    noise: ||noise|| / ||D||, what was added at right angles to the update.
    """

    kept: float
    noise: float

    @property
    def erased(self) -> float:
        """The share of the update that is gone, 1 - k."""
        return 1 - self.kept


@torch.no_grad()
def landed(update: Tensor, change: Tensor) -> Landed:
    """How much of `update` is in `change`, two tensors of one shape.

    Raises ValueError for an update of zeros, which has no direction.
    """
    D, change = update.double().flatten(), change.double().flatten()
    if not D.any():
        raise ValueError("the update is zero: no share of it can be kept")
    kept = (change @ D) / (D @ D)
    return Landed(kept.item(), ((change - kept * D).norm() / D.norm()).item())


@torch.no_grad()
def stored(weight: Tensor, form: str) -> Tensor:
    """The weight as a format holds it, in 32 bits again; integers and NF4 in blocks of 64.

    Raises ValueError for a form that is none of FORMATS.
    """
    check_choice("form", form, list(FORMATS))
    if form == "bf16":
        return weight.bfloat16().float()
    return dequantize(quantize(weight.float(), form))


def landed_by_size(
    weight: Tensor, update: Tensor, sizes: Sequence[float], form: str, on_levels: bool = True
) -> list[Landed]:
    """What lands of an update that is made as large as each of `sizes`, in units of ||weight||.

    on_levels: whether the base holds numbers of the format already, as a quantized base does;
        otherwise `weight` itself is the base, and the sum alone is rounded.
    """
    base = stored(weight, form) if on_levels else weight
    unit = update * (weight.norm() / update.norm())
    before = stored(base, form)
    return [landed(size * unit, stored(base + size * unit, form) - before) for size in sizes]


@torch.no_grad()
def attention_maps(model: nn.Module, input_ids: Tensor) -> list[Tensor]:
    """Who looks at whom: each layer's attention, (batch, heads, queries, keys), rows sum to 1.

    model: a causal decoder of `minipeft.models.llama`, adapted or not. Keys of a prefix stand
        first and are seen by all; padding is not looked for.
    """
    maps: list[Tensor] = []

    def attention(q: Tensor, k: Tensor, v: Tensor, **options: object) -> Tensor:
        scores = q @ k.mT / math.sqrt(q.shape[-1])  # (batch, heads, queries, keys)
        before = k.shape[2] - q.shape[2]  # keys of a prefix, or of a cache
        later = torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1 + before)
        maps.append(scores.masked_fill(later, -math.inf).softmax(-1))
        return maps[-1] @ v

    with mock.patch.object(F, "scaled_dot_product_attention", attention):
        model(input_ids)
    return maps


def attention_moved(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """The mean share of attention that looks elsewhere: half the sum of |p - q| of each row."""
    moved = [(p - q).abs().sum(-1).mean() / 2 for p, q in zip(before, after, strict=True)]
    return float(sum(moved) / len(moved))
