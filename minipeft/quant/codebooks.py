"""Code books: the level of each code, one book per data type, every level in [-1, 1].

A block of weights is divided by its largest absolute value (absmax), and each weight is then stored
as the code of the nearest level. Types differ in nothing but where the levels lie:

nf4        quantiles of the normal distribution (Dettmers et al. 2023, "QLoRA", section 3)
fp4        bitsandbytes' 4-bit float
e2m1       the 4-bit float of the Open Compute Project: 2 bits of exponent, 1 of mantissa
e3m0       a 4-bit float that is all exponent: powers of two
int4, int8 evenly spaced and symmetric: plain absmax quantization
uniform4   evenly spaced, all 16 codes in use, and so without a zero
dynamic8   8-bit float of variable exponent (Dettmers 2015), for the absmax values themselves
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from minipeft.core.errors import check_choice


def nf4_levels() -> Tensor:
    """The 16 levels of NF4, ascending: 7 quantiles below zero, zero, 8 above.

    The outermost probability is 1 - (1/32 + 1/30) / 2, in the seven digits it was published with;
    it keeps the quantiles finite. The published levels come from probabilities in 32 bits,
    quantiles in 64, and a division in 32; rounded in this order they are equal to the last bit.
    """

    def quantiles(count: int) -> Tensor:
        probabilities = torch.linspace(0.9677083, 0.5, count + 1, device="cpu")[:-1]
        return torch.special.ndtri(probabilities.double()).float()  # descending to above zero

    levels = torch.cat([-quantiles(7), torch.zeros(1, device="cpu"), quantiles(8).flip(0)])
    return levels / levels.max()


def dynamic8_levels() -> Tensor:
    """256 levels, finer and finer towards zero: decade i of seven has 2^i per sign, and 0 and 1.

    Level: a midpoint of 2^i even parts of [0.1, 1], times 10^(i - 6).
    """
    levels = [torch.tensor([0.0, 1.0], device="cpu")]
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1, device="cpu")
        decade = 10 ** (i - 6) * ((edges[:-1] + edges[1:]) / 2)
        levels += [decade, -decade]
    return torch.cat(levels).sort().values


def _signed(*positive: float) -> Tensor:
    """Levels of a float type in the order of its codes: the first bit is the sign."""
    levels = torch.tensor(positive, device="cpu")
    return torch.cat([levels, -levels]) / levels.max()


def _even(first: int, last: int) -> Tensor:
    levels = torch.arange(first, last + 1, device="cpu", dtype=torch.float32)
    return levels / last


LEVELS = {
    "nf4": nf4_levels,
    "fp4": lambda: _signed(0, 0.0625, 8, 12, 4, 6, 2, 3),
    "e2m1": lambda: _signed(0, 0.5, 1, 1.5, 2, 3, 4, 6),
    "e3m0": lambda: _signed(0, 1, 2, 4, 8, 16, 32, 64),
    "int4": lambda: _even(-7, 7),
    "int8": lambda: _even(-127, 127),
    "uniform4": lambda: torch.linspace(-1, 1, 16, device="cpu"),
    "dynamic8": dynamic8_levels,
}


@dataclass(frozen=True, eq=False)
class CodeBook:
    """levels (codes,) by code; thresholds (codes - 1,), ascending, and the code in each gap.

    pairs (256, 2): for a byte that packs two 4-bit codes, the two levels; None for 8-bit types.
    binned: the nearest level is found to 1 part in 65,536, as bitsandbytes does on a CPU.
    """

    levels: Tensor
    thresholds: Tensor
    order: Tensor | None  # None where codes ascend with their levels
    pairs: Tensor | None
    binned: bool

    @property
    def bits(self) -> int:
        """Bits of one code."""
        return 8 if self.pairs is None else 4


@cache
def code_book(quant_type: str, device: torch.device) -> CodeBook:
    """The code book of a type, ready on a device. Raises ValueError for an unknown type."""
    check_choice("quant_type", quant_type, list(LEVELS))
    levels = LEVELS[quant_type]()
    ascending, order = levels.sort(stable=True)
    thresholds = (ascending[:-1] + ascending[1:]) / 2  # nearest level = first threshold not below
    pairs = None
    if len(levels) <= 16:
        padded = torch.cat([levels, levels.new_zeros(16 - len(levels))])
        # The first of two weights has the high four bits of their byte.
        pairs = torch.stack([padded.repeat_interleave(16), padded.repeat(16)], dim=1).to(device)
    sorted_already = torch.equal(order, torch.arange(len(levels), device="cpu"))
    return CodeBook(
        levels.to(device),
        thresholds.to(device),
        None if sorted_already else order.int().to(device),
        pairs,
        binned=quant_type == "dynamic8" and device.type == "cpu",
    )
