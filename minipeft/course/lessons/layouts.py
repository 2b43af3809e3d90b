"""What a step of training brings to each process, predicted from sizes alone, by layout.

Three collective operations carry everything. With p processes and n bytes that all of them hold in
the end (for a reduce-scatter: in the beginning), a ring brings to each process

    all-reduce      2 (p - 1) / p  n     everyone gets the sum
    all-gather        (p - 1) / p  n     everyone gets all parts
    reduce-scatter    (p - 1) / p  n     everyone gets its part of the sum

bytes (NCCL tests, "Performance reported by NCCL tests"). Gloo, PyTorch's backend on CPUs, makes a
reduce-scatter out of an all-reduce (PyTorch's pull request 118911).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from torch import nn

from minipeft.core.errors import check_choice
from minipeft.course.lessons.counter import by_kind, config_for
from minipeft.course.lessons.replica import beginner, blocks_of

PASSES = {"all-reduce": 2, "all-gather": 1, "reduce-scatter": 1}
BACKENDS = ("nccl", "gloo")
LAYOUTS = ("DDP", "FSDP2", "FSDP2 once")
METHODS = ("full", "lora", "qlora")
CONSTANT_BITS = 8 / 64 + 32 / (64 * 256)  # QLoRA, section 3: double quantization, for each weight


def arriving(operation: str, handed: int, processes: int, backend: str = "nccl") -> float:
    """The bytes that reach each process in one operation on a ring.

    handed: the bytes of the whole tensor, not of one process's part.
    Raises ValueError for an unknown operation or backend.
    """
    check_choice("operation", operation, PASSES)
    check_choice("backend", backend, BACKENDS)
    if backend == "gloo" and operation == "reduce-scatter":
        operation = "all-reduce"
    return PASSES[operation] * (processes - 1) / processes * handed


class Parcel(NamedTuple):
    """Bytes that one step hands to one kind of collective, and what they are."""

    what: str  # "gradients", "frozen weights" or "trained weights"
    operation: str
    handed: float


@dataclass(frozen=True)
class Sizes:
    """Bytes of a model: its weights, each (in the blocks, outside), and its gradients."""

    frozen: tuple[float, float]
    trained: tuple[float, float]
    gradients: float


def sizes_of(model: nn.Module, blocks: Iterable[nn.Module]) -> Sizes:
    """The sizes of a model that is there, some of it frozen."""
    inside = {id(p) for block in blocks for p in block.parameters()}

    def count(trained: bool, within: bool) -> int:
        chosen = (p for p in model.parameters() if p.requires_grad == trained)
        return sum(p.nbytes for p in chosen if (id(p) in inside) == within)

    trained = count(True, True), count(True, False)
    return Sizes((count(False, True), count(False, False)), trained, sum(trained))


def step_of(layout: str, sizes: Sizes) -> list[Parcel]:
    """What a step hands over, where each block and then the whole model is given to fully_shard.

    A block is gathered for its forward pass, freed, and gathered again for its backward pass; with
    reshard_after_forward=False ("FSDP2 once") it is not freed. What lies outside the blocks stays
    whole until the backward pass ends. Dimensions that p does not divide are padded: not counted.
    Raises ValueError for a layout that isn't in LAYOUTS.
    """
    check_choice("layout", layout, LAYOUTS)
    if layout == "DDP":
        return [Parcel("gradients", "all-reduce", sizes.gradients)]
    times = 1 if layout == "FSDP2 once" else 2
    weights = {"frozen weights": sizes.frozen, "trained weights": sizes.trained}
    found = [Parcel(what, "all-gather", times * n + m) for what, (n, m) in weights.items()]
    return [*found, Parcel("gradients", "reduce-scatter", sizes.gradients)]


def arriving_by_kind(
    parcels: Iterable[Parcel], processes: int, backend: str = "nccl"
) -> dict[str, float]:
    """The bytes that reach each process in a step, by what they are."""
    return {p.what: arriving(p.operation, p.handed, processes, backend) for p in parcels}


def total(layout: str, sizes: Sizes, processes: int, backend: str = "nccl") -> float:
    """All bytes that reach each process in a step."""
    return sum(arriving_by_kind(step_of(layout, sizes), processes, backend).values())


def predicted(setting: str, processes: int = 2) -> dict[str, float]:
    """What a setting of `minipeft.course.lessons.replica` brings over gloo, by what it is."""
    layout, method = setting.split()
    return arriving_by_kind(step_of(layout, sizes_of_beginner(method)), processes, "gloo")


@cache
def sizes_of_beginner(method: str) -> Sizes:
    """The sizes of the model that `replica` trains."""
    model = beginner(method)
    return sizes_of(model, blocks_of(model))


@cache
def published(name: str, method: str, r: int = 8) -> Sizes:
    """The sizes of a Llama-style model by its published name; method is one of METHODS.

    Weights have 16 bits, those of QLoRA's linear layers 4 (their constants are replicated: they do
    not travel). LoRA of rank r on all linear layers has 32 bits, as here and in peft.
    Raises ValueError for another method.
    """
    check_choice("method", method, METHODS)
    kinds, count = by_kind(name, config_for("LoRA", "all linear", r))
    matrices = sum(numbers for numbers, _ in kinds.values())
    outside = 2.0 * (count.total - count.trainable - matrices)  # norms counted here: under 0.01%
    if method == "full":
        return Sizes((0.0, 0.0), (2.0 * matrices, outside), 2.0 * matrices + outside)
    base = matrices * (0.5 if method == "qlora" else 2.0)
    return Sizes((base, outside), (4.0 * count.trainable, 0.0), 4.0 * count.trainable)


def on_a_card(name: str, method: str, cards: int = 1, training: bool = True) -> dict[str, float]:
    """Bytes on each card where everything is split among `cards`; the activations are left out.

    Conventions: 16 bits for weights and gradients of full fine-tuning, 32 for an adapter and for
    Adam's two means; QLoRA's weights with double quantization, 4.127 bits.
    """
    sizes = published(name, method)
    constants = sizes.frozen[0] * (CONSTANT_BITS / 4) if method == "qlora" else 0.0
    weights = sum(sizes.frozen) + constants + sum(sizes.trained)
    trained = sum(sizes.trained) / (2 if method == "full" else 4)  # numbers
    rows = {"weights": weights, "gradients": sizes.gradients, "optimizer": 8.0 * trained}
    shown = rows if training else {"weights": weights}
    return {row: n / cards for row, n in shown.items()}
