"""Bytes that follow from counts alone: optimizer states and files."""

import json
import math
from collections.abc import Iterable, Mapping

from torch import Tensor

from minipeft.budget.training_setup import OPTIMIZERS

SMALLEST_8BIT = 4096  # bitsandbytes keeps the states of smaller tensors in 32 bits
STATE_BLOCK = 256  # 8-bit states to an absmax
SMALLEST_PAGED = 100_000  # ... and never pages the states of smaller ones

SHORT = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "bool": "BOOL"}
SHORT |= {"int64": "I64", "int32": "I32", "uint8": "U8"}  # safetensors' words for torch's


def optimizer_bytes(name: str, tensors: Iterable[Tensor], width: int) -> int:
    """The states of an optimizer on these tensors; `width` bytes for each plain mean.

    torch's AdamW also counts the steps of each tensor, in 4 bytes; bitsandbytes' 8-bit states have
    two tables of 256 levels for all.
    """
    tensors, means = list(tensors), OPTIMIZERS[name]
    if name != "adamw_8bit":
        steps = 4 * len(tensors) if "adamw" in name else 0
        return means * width * sum(tensor.numel() for tensor in tensors) + steps
    large = [tensor.numel() for tensor in tensors if tensor.numel() >= SMALLEST_8BIT]
    small = sum(tensor.numel() for tensor in tensors) - sum(large)
    scales = 4 * sum(-(n // -STATE_BLOCK) for n in large)
    return means * (sum(large) + scales + 4 * small + (4 * 256 if large else 0))


def paged_bytes(tensors: Iterable[Tensor], width: int) -> int:
    """That part of a paged AdamW's states which may leave the GPU."""
    large = [tensor.numel() for tensor in tensors if tensor.numel() >= SMALLEST_PAGED]
    return 2 * width * sum(large)


def file_bytes(tensors: Mapping[str, Tensor]) -> int:
    """The size of a safetensors file with these tensors: a header and the data.

    Widest dtype first, then by name, as the library writes them; the header is padded to 8 bytes.
    """
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.itemsize
        about = {"dtype": SHORT[str(tensor.dtype)[6:]], "shape": list(tensor.shape)}
        header[name] = about | {"data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return 8 + 8 * math.ceil(len(text) / 8) + end
