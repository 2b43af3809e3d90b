"""bitsandbytes as the reference for codes, constants and dequantized weights."""

import bitsandbytes.functional as bnb
import torch
from bitsandbytes.nn import Linear4bit
from torch import Tensor, nn

BLOCK_SIZES = [32, 64, 128, 256, 512, 1024, 2048, 4096]  # those that bitsandbytes knows


def quantize(weight: Tensor, block_size: int, quant_type: str = "nf4", double_quant: bool = False):
    """bitsandbytes' packed codes and QuantState."""
    return bnb.quantize_4bit(
        weight, blocksize=block_size, quant_type=quant_type, compress_statistics=double_quant
    )


def dequantize(codes: Tensor, state) -> Tensor:
    """bitsandbytes' dequantized weight.

    As one row: on a CPU, bitsandbytes 0.50 takes the wrong absmax in later rows of a weight whose
    rows aren't whole blocks.
    """
    shape, state.shape = state.shape, torch.Size([1, state.shape.numel()])
    with torch.compiler.set_stance("force_eager"):  # it compiles for each odd shape, for seconds
        values = bnb.dequantize_4bit(codes, state)
    state.shape = shape
    return values.view(shape)


def linear(inputs=128, outputs=96, bias=True, dtype=torch.float32) -> nn.Linear:
    """The same dense layer each time."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Linear(inputs, outputs, bias=bias, dtype=dtype)


def linear4bit(dense, quant_type="nf4", double_quant=True, compute_dtype=None) -> Linear4bit:
    """bitsandbytes' layer for a dense one."""
    layer = Linear4bit(
        dense.in_features,
        dense.out_features,
        bias=dense.bias is not None,
        quant_type=quant_type,
        compress_statistics=double_quant,
        compute_dtype=compute_dtype,
    )
    layer.weight.data = layer.weight.data.to(dense.weight.dtype)
    layer.load_state_dict(dense.state_dict())
    return layer.to("cpu").train()  # quantizes; in training mode it never repacks for a CPU
