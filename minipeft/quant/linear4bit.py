"""Linear4bit: y = x W'^T + b, where W' = dequantize(codes) is made when needed and then dropped.

Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs", section 3, equation 5.
Nothing of W is trained. Gradients pass through to x: dx = dy W'.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minipeft.core.linear import dense_weight, is_4bit, is_linear
from minipeft.quant.bnb_format import from_state, to_state
from minipeft.quant.nf4 import QuantizedTensor, dequantize, quantize


class FrozenMatmul(torch.autograd.Function):
    """y = x W'^T + b and dx = dy W'. Only the packed weight is saved for the backward pass.

    F.linear would save every layer's dense W', which takes the memory that 4 bits are to save.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor | None, quantized: QuantizedTensor, compiled: bool
    ) -> Tensor:
        ctx.quantized, ctx.compiled = quantized, compiled
        weight = dequantize(quantized, x.dtype, compiled)  # (out, in)
        return F.linear(x, weight, None if bias is None else bias.to(x.dtype))  # (..., out)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        dx = db = None
        if ctx.needs_input_grad[0]:
            dx = dy @ dequantize(ctx.quantized, dy.dtype, ctx.compiled)  # (..., in)
        if ctx.needs_input_grad[1]:
            db = dy.reshape(-1, dy.shape[-1]).sum(0)  # (out,)
        return dx, db, None, None


class Linear4bit(nn.Module):
    """A linear layer whose weight is stored in 4 bits and stays as it is.

    linear_or_sizes: an nn.Linear or transformers' Conv1D to quantize, or (in, out) for a new layer
        to load a checkpoint into. The bias is kept as it is.
    block_size, double_quant, quant_type: as in `quantize_nf4`.
    compute_dtype: of the product; x is cast to it and y back. None: that of x.
    compiled: dequantize through torch.compile, to the same bits.

    `state_dict` has bitsandbytes' names, and opens as bnb.nn.Linear4bit; theirs opens here.

    forward: x (..., in) -> y (..., out).
    Raises TypeError for anything but a linear layer, ValueError as `quantize_nf4` does.
    """

    def __init__(
        self,
        linear_or_sizes: nn.Module | tuple[int, int],
        block_size: int = 64,
        double_quant: bool = True,
        compute_dtype: torch.dtype | None = None,
        quant_type: str = "nf4",
        bias: bool = True,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        linear = linear_or_sizes
        if isinstance(linear, tuple) and len(linear) == 2:
            linear = nn.Linear(*linear, bias=bias)
        if not isinstance(linear, nn.Module) or not is_linear(linear) or is_4bit(linear):
            raise TypeError(
                f"Linear4bit({linear_or_sizes!r}) can't be; it takes an nn.Linear, a Conv1D of "
                "transformers, or (in_features, out_features)"
            )
        if compute_dtype is not None and not compute_dtype.is_floating_point:
            raise ValueError(f"compute_dtype={compute_dtype} can't compute; try torch.bfloat16")
        self.compute_dtype = compute_dtype
        self.compiled = compiled
        self._hold(quantize(dense_weight(linear), quant_type, block_size, double_quant))
        self.bias = linear.bias
        self.out_features, self.in_features = self.quantized.shape

    def _hold(self, quantized: QuantizedTensor) -> None:
        """Store the weight. Its constants become buffers, so that they move with the module.

        The buffers are integers of the same bits: .half() and .bfloat16() do not round those.
        """
        self._like = quantized.to("meta")  # shape, types, block size: no bytes
        tensors = quantized.tensors()
        self.weight = nn.Parameter(tensors.pop("codes"), requires_grad=False)  # (packed, 1) uint8
        for name in ("absmax", "nested_absmax", "nested_offset"):
            bits = tensors.get(name)
            if bits is not None and bits.is_floating_point():
                bits = bits.view(torch.int32)
            self.register_buffer(name, bits, persistent=False)

    @property
    def quantized(self) -> QuantizedTensor:
        """The weight (out, in) as it is stored."""
        tensors = {"codes": self.weight.data}
        for name, like in self._like.tensors().items():
            if name != "codes":
                tensors[name] = getattr(self, name).view(like.dtype)
        return self._like.with_tensors(tensors)

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        """The dense weight (out, in), in `dtype` or in that it had before quantization."""
        return dequantize(self.quantized, dtype, self.compiled)

    def requantized(self, weight: Tensor, bias: nn.Parameter | None) -> "Linear4bit":
        """A layer of the same type and block size that holds another weight (out, in)."""
        q = self._like
        dense = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        dense.weight, dense.bias = nn.Parameter(weight.to(q.dtype), requires_grad=False), bias
        double_quant = q.offset is not None
        layer = Linear4bit(
            dense, q.block_size, double_quant, self.compute_dtype, q.quant_type, True, self.compiled
        )
        return layer.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        computed = x.to(self.compute_dtype or x.dtype)
        return FrozenMatmul.apply(computed, self.bias, self.quantized, self.compiled).to(x.dtype)

    def extra_repr(self) -> str:
        q = self._like
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, {q.quant_type}, block_size={q.block_size}, "
            f"double_quant={q.offset is not None}, compute_dtype={self.compute_dtype}"
        )

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        state = to_state(self.quantized, f"{prefix}weight")
        destination.update({key: state[key] for key in state if key not in destination})

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, *args: Any
    ) -> None:
        """Errors about a 4-bit weight are added to the other messages of load_state_dict."""
        name, errors = f"{prefix}weight", args[-1]
        rest = {key: state_dict[key] for key in state_dict if not key.startswith(f"{name}.")}
        if len(rest) < len(state_dict):
            try:
                quantized = from_state(state_dict, name)
                if quantized.shape != self._like.shape:
                    wanted = tuple(self._like.shape)
                    raise ValueError(f"{name} is {tuple(quantized.shape)}; it must be {wanted}")
            except ValueError as error:
                errors.append(str(error))
                return
            self._hold(
                quantized.to(quantized.device if self.weight.is_meta else self.weight.device)
            )
            rest[name] = self.weight.data
        super()._load_from_state_dict(rest, prefix, *args)
