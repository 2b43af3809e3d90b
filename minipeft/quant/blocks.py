"""Quantize block by block: absmax_b = max |w| in block b, code = nearest level to w / absmax_b.

And back: w' = level[code] * absmax_b. The weights are taken as one row, in the order of memory.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from minipeft.quant.codebooks import CodeBook

SMALLEST = 1e-38  # a block of zeros is divided by this, as in bitsandbytes


@torch.no_grad()
def quantize_blocks(
    values: Tensor, book: CodeBook, block_size: int, compiled: bool = False
) -> tuple[Tensor, Tensor]:
    """values (n,), floating -> codes (bytes,) uint8 and absmax (blocks,) float32.

    Two 4-bit codes share a byte, the first in its high half. `compiled` runs the whole blocks
    through torch.compile: same bits, several times as fast, after a compilation of seconds.
    """
    n = len(values)
    blocks = -(n // -block_size)
    codes = torch.empty(-(n * book.bits // -8), dtype=torch.uint8, device=values.device)
    absmax = torch.empty(blocks, dtype=torch.float32, device=values.device)
    whole = n // block_size if compiled and _can_compile(book, block_size) else 0
    if whole:
        part = values[: whole * block_size].view(whole, block_size)
        packed, absmax[:whole] = _compiled(_quantize_fused)(part, tuple(book.thresholds.tolist()))
        codes[: len(packed)] = packed
    step = _blocks_at_once(values, block_size)
    for first in range(whole, blocks, step):
        part = values[first * block_size : (first + step) * block_size].float()
        part = _of_length(-(len(part) // -block_size) * block_size, part)
        part = part.view(-1, block_size)  # (step, block)
        peak = part.abs().amax(dim=1)
        scaled = part * (1 / peak.clamp(min=SMALLEST)).unsqueeze(1)
        absmax[first : first + step] = peak
        if first + len(part) == blocks and n % block_size and _cpu_divides(values, book):
            absmax[-1:].clamp_(min=SMALLEST)
            scaled[-1] = part[-1] / absmax[-1]
        if book.binned:
            scaled = ((scaled + 1) * 0.5 * 65535 + 0.5).int() / 65535 * 2 - 1
        index = torch.bucketize(scaled.flatten(), book.thresholds, out_int32=True)
        packed = _pack(index if book.order is None else book.order[index], book.bits)
        start = first * block_size * book.bits // 8
        codes[start : start + len(packed)] = packed[: len(codes) - start]
    return codes, absmax


@torch.no_grad()
def dequantize_blocks(
    codes: Tensor,
    absmax: Tensor,
    book: CodeBook,
    block_size: int,
    n: int,
    dtype: torch.dtype,
    compiled: bool = False,
) -> Tensor:
    """codes (bytes,) and absmax (blocks,) -> values (n,), multiplied in 32 bits, then rounded."""
    if compiled and _can_compile(book, block_size) and n % block_size == 0:
        bytes_by_block = codes.view(len(absmax), block_size // 2)
        return _compiled(_dequantize_fused)(bytes_by_block, absmax, book.pairs, dtype).view(n)
    values = torch.empty(len(absmax), block_size, dtype=dtype, device=codes.device)
    step = _blocks_at_once(values, block_size)
    for first in range(0, len(absmax), step):
        scale = absmax[first : first + step].unsqueeze(1)  # (step, 1)
        start, count = first * block_size * book.bits // 8, len(scale) * block_size
        part = codes[start : start - (count * book.bits // -8)]
        out = values[first : first + step]
        # Looked up into their place, the levels need no memory of their own, which is slow to get.
        whole = book.bits == 4 and block_size % 2 == 0 and 2 * len(part) == count  # bytes in blocks
        rows = part.view(len(scale) if whole else 1, -1)
        levels = _levels(rows, book, out if whole and dtype == torch.float32 else None)
        levels = _of_length(count, levels)  # one too many after an odd number of codes
        torch.mul(levels.view(-1, block_size), scale, out=out)
    return values.view(-1)[:n]


def _levels(codes: Tensor, book: CodeBook, out: Tensor | None = None) -> Tensor:
    """The level of each code (rows, n), in `out` if given; a byte of two codes is one of 256 pairs.

    A pair of float32 is looked up as one int64, which is faster than copying rows of two, and
    gather divides the rows among the threads.
    """
    if book.pairs is None:
        return book.levels.index_select(0, codes.int().view(-1))
    pairs = book.pairs.view(torch.int64).view(1, -1).expand(len(codes), -1)  # (rows, 256)
    out = None if out is None else out.view(torch.int64)
    return torch.gather(pairs, 1, codes.long(), out=out).view(torch.float32).view(-1)


def _pack(codes: Tensor, bits: int) -> Tensor:
    codes = codes.to(torch.uint8)
    if bits == 8:
        return codes
    pairs = _of_length(len(codes) + len(codes) % 2, codes).view(-1, 2)
    return (pairs[:, 0] << 4) | pairs[:, 1]


def _of_length(n: int, values: Tensor) -> Tensor:
    """values (m,) cut to n, or with zeros up to n; if m = n the tensor itself: F.pad would copy."""
    return values if len(values) == n else F.pad(values, (0, n - len(values)))


def _blocks_at_once(values: Tensor, block_size: int) -> int:
    """An even number of blocks, so that parts end at whole bytes.

    Small parts keep temporaries in the processor's cache; a GPU wants more to do at once.
    """
    room = 2**19 if values.device.type == "cpu" else 2**24
    return max(2, room // block_size // 2 * 2)


def _cpu_divides(values: Tensor, book: CodeBook) -> bool:
    """On a CPU bitsandbytes divides a last, shorter block by absmax, and stores that divisor."""
    return values.device.type == "cpu" and book.bits == 4


def _can_compile(book: CodeBook, block_size: int) -> bool:
    return book.bits == 4 and book.order is None and block_size % 2 == 0


@cache
def _compiled(function):
    return torch.compile(function)


def _quantize_fused(blocks: Tensor, thresholds: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """The body of quantize_blocks as one loop over memory: blocks (blocks, block_size)."""
    blocks = blocks.float()
    absmax = blocks.abs().amax(dim=1)
    scaled = blocks * (1 / absmax.clamp(min=SMALLEST)).unsqueeze(1)
    first, second = scaled.view(-1, 2).unbind(1)
    return (16 * _count(first, thresholds) + _count(second, thresholds)).to(torch.uint8), absmax


def _count(scaled: Tensor, thresholds: tuple[float, ...]) -> Tensor:
    """The number of thresholds below: fifteen comparisons vectorize, a binary search doesn't."""
    code = (scaled > thresholds[0]).int()
    for threshold in thresholds[1:]:
        code = code + (scaled > threshold)
    return code


def _dequantize_fused(codes: Tensor, absmax: Tensor, pairs: Tensor, dtype: torch.dtype) -> Tensor:
    """The body of dequantize_blocks as one loop: codes (blocks, block_size / 2)."""
    return (pairs[codes.int()] * absmax[:, None, None]).to(dtype)  # (blocks, block_size / 2, 2)
