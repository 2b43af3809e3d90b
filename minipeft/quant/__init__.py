"""Four bits for a weight: NF4 and its kin, the layer that computes with them, paged AdamW."""

from minipeft.quant.linear4bit import Linear4bit
from minipeft.quant.nf4 import NF4Tensor, QuantizedTensor, dequantize_nf4, quantize_nf4
from minipeft.quant.paged import PagedAdamW

__all__ = [
    "Linear4bit",
    "NF4Tensor",
    "PagedAdamW",
    "QuantizedTensor",
    "dequantize_nf4",
    "quantize_nf4",
]
