"""Quantized weights under the names that they have in a bitsandbytes checkpoint.

weight                                 the packed codes, uint8 (ceil(n / 2), 1)
weight.absmax                          float32 (blocks,), or uint8 after double quantization
weight.quant_map                       the levels, float32 (16,)
weight.nested_absmax, nested_quant_map double quantization's own constants and levels
weight.quant_state.bitsandbytes__nf4   the rest: JSON, its bytes as a uint8 tensor
"""

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from minipeft.core.errors import nearest
from minipeft.quant.codebooks import code_book
from minipeft.quant.nf4 import NESTED_BLOCK_SIZE, QuantizedTensor

TYPES = ["nf4", "fp4"]  # those that bitsandbytes knows
FIELDS = {  # of the JSON, and their valid values
    "blocksize": lambda value: type(value) is int,
    "dtype": lambda value: value in ("float32", "float16", "bfloat16"),
    "shape": lambda value: type(value) is list and all(type(n) is int and n > 0 for n in value),
    "nested_offset": lambda value: value is None or type(value) is float,
}


def to_state(quantized: QuantizedTensor, name: str = "weight") -> dict[str, Tensor]:
    """The tensors of a checkpoint. Raises ValueError for a type that bitsandbytes doesn't know."""
    if quantized.quant_type not in TYPES:
        raise ValueError(
            f"quant_type={quantized.quant_type!r} has no place in a bitsandbytes checkpoint; "
            f"choose from {TYPES}"
        )
    about = {
        "quant_type": quantized.quant_type,
        "blocksize": quantized.block_size,
        "dtype": str(quantized.dtype).removeprefix("torch."),
        "shape": tuple(quantized.shape),
    }
    levels = quantized.book.levels.clone()  # a file refuses tensors that share memory
    tensors = {"absmax": quantized.constants, "quant_map": levels}
    if quantized.offset is not None:
        nested = quantized.constants
        tensors["absmax"] = nested.codes.view(-1)
        nested_levels = nested.book.levels.clone()
        tensors |= {"nested_absmax": nested.constants, "nested_quant_map": nested_levels}
        about |= {
            "nested_blocksize": nested.block_size,
            "nested_dtype": "float32",
            "nested_offset": quantized.offset.item(),
        }
    packed = torch.tensor(list(json.dumps(about).encode()), dtype=torch.uint8)
    tensors[f"quant_state.bitsandbytes__{quantized.quant_type}"] = packed.to(quantized.device)
    return {name: quantized.codes} | {f"{name}.{key}": tensor for key, tensor in tensors.items()}


def from_state(tensors: Mapping[str, Tensor], name: str = "weight") -> QuantizedTensor:
    """The quantized weight called `name` in a checkpoint; other names are left alone.

    Raises ValueError where a tensor is missing, has the wrong size, or isn't what it should be.
    """
    quant_type, about = _description(tensors, name)

    def tensor(key: str, dtype: torch.dtype) -> Tensor:
        if key not in tensors:
            raise ValueError(f"the checkpoint has no {key}; {nearest(key, tensors)}")
        if tensors[key].dtype != dtype:
            raise ValueError(f"{key} is {tensors[key].dtype}; it must be {dtype}")
        return tensors[key]

    codes = tensors[name].flatten().view(torch.uint8).view(-1, 1)  # of any storage dtype
    _check_levels(tensor(f"{name}.quant_map", torch.float32), quant_type, f"{name}.quant_map")
    offset = None
    if about.get("nested_offset") is not None:
        absmax = tensor(f"{name}.absmax", torch.uint8)
        nested_levels = tensor(f"{name}.nested_quant_map", torch.float32)
        _check_levels(nested_levels, "dynamic8", f"{name}.nested_quant_map")
        constants = QuantizedTensor(
            absmax.view(-1, 1),
            tensor(f"{name}.nested_absmax", torch.float32),
            absmax.shape,
            torch.float32,
            about.get("nested_blocksize", NESTED_BLOCK_SIZE),
            "dynamic8",
        )
        offset = torch.tensor(about["nested_offset"], device=codes.device, dtype=torch.float32)
    else:
        constants = tensor(f"{name}.absmax", torch.float32)
    shape, dtype = torch.Size(about["shape"]), getattr(torch, about["dtype"])
    return QuantizedTensor(codes, constants, shape, dtype, about["blocksize"], quant_type, offset)


def _description(tensors: Mapping[str, Tensor], name: str) -> tuple[str, dict]:
    """The quant_state entry: the type in its name, and the JSON in it."""
    prefix = f"{name}.quant_state.bitsandbytes__"
    keys = [key for key in tensors if key.startswith(prefix)]
    if len(keys) != 1 or keys[0].removeprefix(prefix) not in TYPES or name not in tensors:
        wanted = " or ".join(prefix + quant_type for quant_type in TYPES)
        raise ValueError(f"a 4-bit checkpoint holds {name} and one of {wanted}; found {keys}")
    key = keys[0]
    try:
        about = json.loads(bytes(tensors[key].tolist()))
        wrong = [field for field, valid in FIELDS.items() if not valid(about.get(field))]
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{key} is truncated or damaged: {error}") from None
    if wrong:
        raise ValueError(f"{key} has no valid {wrong[0]!r}: {about}")
    return key.removeprefix(prefix), about


def _check_levels(found: Tensor, quant_type: str, key: str) -> None:
    levels = code_book(quant_type, found.device).levels
    if found.shape != levels.shape or not torch.allclose(found, levels, rtol=0, atol=1e-6):
        raise ValueError(f"{key} holds other levels than those of {quant_type!r}")
