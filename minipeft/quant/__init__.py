"""Four bits for a weight: NF4 and its kin, the layer that computes with them, paged AdamW."""

from minipeft.quant.nf4 import NF4Tensor, QuantizedTensor, dequantize_nf4, quantize_nf4

__all__ = ["NF4Tensor", "QuantizedTensor", "dequantize_nf4", "quantize_nf4"]
