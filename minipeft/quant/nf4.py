"""NF4: w is stored as the code of the nearest level to w / absmax, 64 weights to one absmax.

    w' = level[code] * absmax       16 levels at quantiles of the normal distribution

Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs", section 3. Double
quantization stores the absmax values themselves, less their mean, in 8 bits, 256 to a block:
4.5 bits per weight become 4.127. Codes, absmax and dequantized weights are bitsandbytes' own.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minipeft.quant.blocks import dequantize_blocks, quantize_blocks
from minipeft.quant.codebooks import CodeBook, code_book

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
NESTED_BLOCK_SIZE = 256  # of double quantization, as in QLoRA and bitsandbytes


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """A tensor of `shape`, n values, in blocks of `block_size`, by the code book `quant_type`.

    codes: uint8, (ceil(n / 2), 1) where two codes share a byte, (n, 1) for 8-bit types.
    constants: what scales each block, float32 (blocks,), or that once more quantized.
    offset: a float32 number to add to quantized constants; None for plain ones.
    dtype: that of the tensor before, and of dequantization.

    Raises ValueError where codes or constants don't fit the shape.
    """

    codes: Tensor
    constants: "Tensor | QuantizedTensor"
    shape: torch.Size
    dtype: torch.dtype = torch.float32
    block_size: int = 64
    quant_type: str = "nf4"
    offset: Tensor | None = None

    def __post_init__(self) -> None:
        n = math.prod(self.shape)
        for name, tensor, wanted in (
            ("codes", self.codes, -(n * self.book.bits // -8)),
            ("absmax", self.constants, -(n // -check_block_size(self.block_size))),
        ):
            found = math.prod(tensor.shape)
            if found != wanted:
                raise ValueError(
                    f"{name} has {found} entries, but {tuple(self.shape)} values of type "
                    f"{self.quant_type!r} in blocks of {self.block_size} need {wanted}"
                )
        if self.codes.dtype != torch.uint8:
            raise ValueError(f"codes are {self.codes.dtype}; packed codes are torch.uint8")

    @property
    def book(self) -> CodeBook:
        """The level of each code."""
        return code_book(self.quant_type, self.codes.device)

    @property
    def absmax(self) -> Tensor:
        """The factor of each block: float32, (blocks,)."""
        if isinstance(self.constants, Tensor):
            return self.constants
        return dequantize(self.constants) + self.offset

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and of all constants (levels are shared by all tensors)."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    @property
    def device(self) -> torch.device:
        """The device of the codes."""
        return self.codes.device

    def tensors(self) -> dict[str, Tensor]:
        """The stored tensors, by name."""
        if isinstance(self.constants, Tensor):
            return {"codes": self.codes, "absmax": self.constants}
        nested = {"absmax": self.constants.codes, "nested_absmax": self.constants.constants}
        return {"codes": self.codes} | nested | {"nested_offset": self.offset}

    def with_tensors(self, tensors: dict[str, Tensor]) -> "QuantizedTensor":
        """The same shape and types with other stored tensors."""
        if isinstance(self.constants, Tensor):
            return replace(self, codes=tensors["codes"], constants=tensors["absmax"])
        constants = replace(
            self.constants, codes=tensors["absmax"], constants=tensors["nested_absmax"]
        )
        offset = tensors["nested_offset"]
        return replace(self, codes=tensors["codes"], constants=constants, offset=offset)

    def to(self, device: torch.device | str) -> "QuantizedTensor":
        """The same tensor on another device. Raises ValueError for CUDA without a GPU."""
        device = check_device(device)
        return self.with_tensors({name: t.to(device) for name, t in self.tensors().items()})


NF4Tensor = QuantizedTensor  # under the name of the type that most of them have


def quantize_nf4(
    weight: Tensor, block_size: int = 64, double_quant: bool = False, compiled: bool = False
) -> NF4Tensor:
    """weight, any shape -> NF4Tensor; blocks run along the flattened weight, the last may be short.

    block_size: weights per absmax, any positive number (bitsandbytes: 32, 64, ... 4096).
    double_quant: store absmax in 8 bits, in blocks of 256, less its mean.
    compiled: through torch.compile, the same bits.

    Raises ValueError for a weight that is not float32, float16 or bfloat16, that is empty, or that
    holds NaN or infinity, and for a block size below 1.
    """
    return quantize(weight, "nf4", block_size, double_quant, compiled)


def dequantize_nf4(
    nf4: NF4Tensor, dtype: torch.dtype | None = None, compiled: bool = False
) -> Tensor:
    """w' = level[code] * absmax in the weight's own shape, on its device, in `dtype` or its own."""
    return dequantize(nf4, dtype, compiled)


def quantize(
    weight: Tensor,
    quant_type: str = "nf4",
    block_size: int = 64,
    double_quant: bool = False,
    compiled: bool = False,
) -> QuantizedTensor:
    """As quantize_nf4, by any code book of `codebooks.py`."""
    _check_weight(weight)
    book = code_book(quant_type, weight.device)
    flat = weight.detach().reshape(-1)
    codes, absmax = quantize_blocks(flat, book, check_block_size(block_size), compiled)
    if not weight.is_meta and not absmax.isfinite().all():  # absmax is NaN or inf with any weight
        wrong = (~weight.isfinite()).nonzero()
        raise ValueError(
            f"weight holds {len(wrong)} values that are NaN or infinite, the first at "
            f"{tuple(wrong[0].tolist())}; repair them before quantizing"
        )
    constants, offset = absmax, None
    if double_quant:
        offset = absmax.mean()
        constants = quantize(absmax - offset, "dynamic8", NESTED_BLOCK_SIZE)
    return QuantizedTensor(
        codes[:, None], constants, weight.shape, weight.dtype, block_size, quant_type, offset
    )


def dequantize(
    quantized: QuantizedTensor, dtype: torch.dtype | None = None, compiled: bool = False
) -> Tensor:
    """As dequantize_nf4, by the tensor's own code book."""
    q = quantized
    values = dequantize_blocks(
        q.codes.view(-1),
        q.absmax,
        q.book,
        q.block_size,
        math.prod(q.shape),
        dtype or q.dtype,
        compiled,
    )
    return values.view(q.shape)


def check_block_size(block_size: int) -> int:
    """The block size. Raises ValueError unless it is a whole number of at least 1."""
    if type(block_size) is not int or block_size < 1:
        raise ValueError(f"block_size={block_size!r} must be a whole number from 1 up, say 64")
    return block_size


def check_device(device: torch.device | str) -> torch.device:
    """The device. Raises ValueError for a GPU that the machine lacks."""
    device = torch.device(device)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(
            f"device='{device}' is not there: torch sees {count} CUDA devices; "
            f"{f'the last is cuda:{count - 1}' if count else 'choose cpu'}"
        )
    return device


def _check_weight(weight: Tensor) -> None:
    if not isinstance(weight, Tensor):
        raise TypeError(f"weight is a {type(weight).__name__}; it must be a torch.Tensor")
    if weight.dtype not in DTYPES:
        names = ", ".join(str(dtype) for dtype in DTYPES)
        raise ValueError(f"weight is {weight.dtype}; choose from {names}, by weight.float() say")
    if not weight.numel():
        raise ValueError(f"weight of shape {tuple(weight.shape)} is empty; it needs one value")
