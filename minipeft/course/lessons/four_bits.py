"""What few bits do to given weights: the numbers that lesson 10 tabulates and draws.

A type is one of `quant.codebooks`, in blocks of any size, or one of two whose scales have few bits
themselves. Both store E2M1 levels, 0, 0.5, 1, 1.5, 2, 3, 4, 6 and negatives, times a scale:

mxfp4   blocks of 32; the scale is the largest power of two not above absmax, over 4 (E8M0, 8 bits)
nvfp4   blocks of 16; the scale is absmax / 6 as an 8-bit float (E4M3), times a float32 per tensor

OCP Microscaling Formats (MX) 1.0, section 6.3, and NVIDIA's NVFP4, both as torchao 0.18 computes
them (`prototype/mx_formats`, scaling mode FLOOR): equal to the last bit.
"""

import functools
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minipeft.core.errors import check_choice
from minipeft.course.base import DATA, load_base, load_tokenizer
from minipeft.course.batches import floor, make_batches
from minipeft.course.lab.train import evaluate
from minipeft.course.world import World
from minipeft.quant.codebooks import LEVELS
from minipeft.quant.nf4 import check_block_size, dequantize, quantize

TYPES = [name for name in LEVELS if name not in ("int8", "dynamic8")]
MICROSCALED = {"mxfp4": 32, "nvfp4": 16}  # weights in a block
LARGEST_E2M1, LARGEST_E4M3, SMALLEST_E4M3 = 6.0, 448.0, 2.0**-6
SMALLEST = 1e-38  # a block of zeros is divided by this
LOSSES = "four_bit_losses.json"
TEXTS = (10**9, 2 * 10**9, 3 * 10**9)  # seeds of sets of texts that the base has never seen


@dataclass(frozen=True)
class Fit:
    """How levels fit weights.

    Attributes:
        scaled: weights over the absmax of their block, flat, in [-1, 1].
        levels: those of the type, ascending.
        error: sum of (w' - w)^2 over sum of w^2.
        entropy: bits that a code carries: - sum of p log2 p over the levels.
        bits: stored for each weight, a float32 absmax for each block included.
    """

    scaled: Tensor
    levels: Tensor
    error: float
    entropy: float
    bits: float


def fit(weights: Tensor, quant_type: str = "nf4", block_size: int = 64) -> Fit:
    """Quantize weights by a four-bit type of `quant.codebooks`, and say how well it fits.

    Raises ValueError for an unknown type, a block size below 1, weights that can't be quantized.
    """
    check_choice("quant_type", quant_type, TYPES)
    quantized = quantize(weights, quant_type, check_block_size(block_size))
    restored, flat = dequantize(quantized).flatten(), weights.detach().flatten().float()
    n = len(flat)
    absmax = quantized.absmax.clamp(min=SMALLEST).repeat_interleave(block_size)[:n]
    levels = quantized.book.levels.unique()  # ascending; 0 and -0 are one level
    used = torch.searchsorted(levels, restored / absmax - 1e-6)
    error = relative_error(flat, restored)
    bits = 4 + 32 * len(quantized.absmax) / n
    return Fit(flat / absmax, levels, error, entropy(used), bits)


def relative_error(weights: Tensor, restored: Tensor) -> float:
    """sum of (w' - w)^2 over sum of w^2, added up in 64 bits."""
    weights, restored = weights.detach().double().flatten(), restored.detach().double().flatten()
    return ((restored - weights).square().sum() / weights.square().sum()).item()


def entropy(codes: Tensor) -> float:
    """Bits that a code carries: - sum of p log2 p over those that occur."""
    share = codes.flatten().unique(return_counts=True)[1].double() / codes.numel()
    return (share * (1 / share).log2()).sum().item()


def microscaled(weights: Tensor, kind: str) -> Tensor:
    """Weights stored as "mxfp4" or "nvfp4" and brought back, float32, in their shape.

    Blocks run along the flattened weights. Raises ValueError for another kind, or for weights that
    are no whole blocks.
    """
    check_choice("kind", kind, list(MICROSCALED))
    block = MICROSCALED[kind]
    if weights.numel() % block:
        raise ValueError(f"{weights.numel()} weights are no whole blocks of {block}, as {kind} has")
    rows = weights.detach().float().reshape(-1, block)
    absmax = rows.abs().amax(dim=1, keepdim=True)  # (blocks, 1)
    scale = power_of_two(absmax) if kind == "mxfp4" else two_level(absmax)
    return (nearest_e2m1(rows / scale) * scale).view(weights.shape)


def power_of_two(absmax: Tensor) -> Tensor:
    """2^(floor(log2 absmax) - 2), exactly; 1 for a block of zeros."""
    mantissa = absmax.frexp().mantissa  # absmax = mantissa 2^e with 1/2 <= mantissa < 1
    return torch.where(absmax > 0, absmax / mantissa / 8, 1.0)


def two_level(absmax: Tensor) -> Tensor:
    """absmax / 6, rounded to E4M3 once the whole tensor's largest has been brought to 448."""
    whole = absmax.max() / (LARGEST_E2M1 * LARGEST_E4M3)
    whole = whole if whole > 0 else torch.ones(())
    scale = (absmax / LARGEST_E2M1 / whole).clamp(SMALLEST_E4M3, LARGEST_E4M3)
    return scale.to(torch.float8_e4m3fn).float() * whole


def nearest_e2m1(scaled: Tensor) -> Tensor:
    """The nearest of 0, 0.5, 1, 1.5, 2, 3, 4, 6 and negatives; a tie goes to the even code."""
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    halfway = (levels[1:] + levels[:-1]) / 2
    halfway[1::2] = halfway[1::2].nextafter(torch.zeros(()))  # a tie below an even code goes up
    return levels[torch.bucketize(scaled.abs(), halfway)].copysign(scaled)


@torch.no_grad()
def base_with(change: Callable[[Tensor], Tensor]) -> tuple[nn.Module, Tensor, Tensor]:
    """The base with change(W) for the weight W of every linear layer but its head.

    Returns:
        The model, and those weights before and after, each as one flat tensor.
    """
    model, _ = load_base()
    before, after = [], []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            before.append(module.weight.flatten().clone())
            module.weight.copy_(change(module.weight))
            after.append(module.weight.flatten())
    return model, torch.cat(before), torch.cat(after).clone()


def noisy(error: float, seed: int) -> Callable[[Tensor], Tensor]:
    """A change that adds normal noise to a weight, so large that `relative_error` is `error`."""
    generator = torch.Generator().manual_seed(seed)

    def change(w: Tensor) -> Tensor:
        noise = torch.randn(w.shape, generator=generator)
        return w + noise * (w.norm() * error**0.5 / noise.norm())

    return change


def loss_above_floor(model: nn.Module, seed: int) -> float:
    """Nats per token above the floor, on 512 texts of the base's own world."""
    texts, batches = _own_world(seed)
    return evaluate(model, batches) - floor(texts, batches)


@functools.cache
def _own_world(seed: int) -> tuple[list, list]:
    texts = World().documents(512, seed=seed)
    return texts, make_batches(load_tokenizer(), texts, batch_size=32)


@dataclass(frozen=True)
class Cost:
    """What a change of the base's weights costs, as `scripts/four_bits.py` recorded it.

    Attributes:
        error: of the weights, sum of (W' - W)^2 over sum of W^2.
        loss: above the floor, nats per token, mean over three sets of texts.
        added: the loss less the base's own on the same texts: the mean, least and most.
    """

    error: float
    loss: float
    added: tuple[float, float, float]

    def __str__(self) -> str:
        """A narrow line: the error, the loss, and what was added to it (least to most)."""
        mean, least, most = (round(each, 4) + 0.0 for each in self.added)  # and no -0
        return f"{self.error:6.2%}  {self.loss:.4f}  {mean:.4f} ({least:.4f} to {most:.4f})"


def recorded_costs() -> dict[str, Cost]:
    """{name: Cost}; runs of noise that differ in their seed alone are taken together."""
    runs = json.loads((DATA / LOSSES).read_text(encoding="utf-8"))["runs"]
    base = next(run["above_floor"] for run in runs if run["name"] == "base")
    found = {}
    for name in dict.fromkeys(run["name"] for run in runs):
        same = [run for run in runs if run["name"] == name]
        losses = [loss for run in same for loss in run["above_floor"]]
        added = [
            loss - own for run in same for loss, own in zip(run["above_floor"], base, strict=True)
        ]
        found[name] = Cost(
            error=statistics.mean(run["error"] for run in same),
            loss=statistics.mean(losses),
            added=(statistics.mean(added), min(added), max(added)),
        )
    return found
