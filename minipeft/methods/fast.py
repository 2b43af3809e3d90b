"""The papers' sums in fewer passes over memory. Optional: each `forward` has the plain equation.

`applies` is the one guard: it lets a plain linear layer without hooks through.
benchmarks/README.md, "Where the time goes", says what each trick saves.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.compiler import is_compiling

from minipeft.core.linear import dense_weight, is_4bit
from minipeft.core.modules import HOOKS

GLOBAL_HOOKS = tuple(f"_global{name}" for name in HOOKS)


def applies(base: nn.Module, x: Tensor, *factors: Tensor, frozen: bool = False) -> bool:
    """Whether base(x) is x W0^T + b and nothing else, all in one dtype, for x (..., in).

    False for a layer with a hook of any kind, or a forward or weight type of its own; under
    autocast, torch.compile and torch.func; where a factor has another dtype; and, with `frozen`,
    where the layer is trained.
    """
    if not is_plain(base) or (frozen and any(p.requires_grad for p in base.parameters())):
        return False
    computes_in = getattr(base, "compute_dtype", None) or x.dtype  # a 4-bit layer's option
    if type(base) is nn.Linear:
        computes_in = base.weight.dtype
    if any(dtype != x.dtype for dtype in (computes_in, *(factor.dtype for factor in factors))):
        return False
    flat = type(x) in (Tensor, nn.Parameter) and x.dim() > 1 and x.is_contiguous()
    return flat and not is_transformed(x)


def is_plain(*layers: nn.Module) -> bool:
    """Whether calling each layer runs nn.Linear's forward, or a 4-bit layer's, and nothing else.

    Hooks are in the dicts that nn.Module looks at, a layer's own and those for all modules.
    False under torch.compile, which fuses the plain equation itself.
    """
    if is_compiling() or any(map(vars(nn.modules.module).get, GLOBAL_HOOKS)):
        return False
    for layer in layers:
        own = vars(layer)
        if any(map(own.get, HOOKS)) or "forward" in own:
            return False
        linear = type(layer) is nn.Linear and type(own["_parameters"].get("weight")) is nn.Parameter
        if not linear and not is_4bit(layer):
            return False
    return True


def is_transformed(x: Tensor) -> bool:
    """Whether torch.func or autocast changes what an operation on x does."""
    if torch._C._are_functorch_transforms_active():
        return True
    return not x.is_meta and torch.is_autocast_enabled(x.device.type)  # meta has no autocast


def low_rank(
    base: nn.Module, x: Tensor, x_dropped: Tensor, A: Tensor, B: Tensor, s: float
) -> Tensor:
    """base(x) + s B A x_dropped, for x and x_dropped (..., in), A (r, in), B (out, r).

    x becomes one flat tensor for both readers: autograd then adds their gradients in place.
    """
    x_flat = x.view(-1, x.shape[-1])  # (positions, in)
    h = base(x_flat)
    Ax = F.linear(x_flat if x_dropped is x else x_dropped.view_as(x_flat), A)  # (positions, r)
    return AddProduct.apply(h, Ax, B, s).view(*x.shape[:-1], h.shape[-1])


class AddProduct(torch.autograd.Function):
    """h + s l B^T for h (positions, out), l (positions, r) and B (out, r), into h's memory.

    Plain autograd writes s l B^T as wide as h, reads it again for the scale and once more for the
    sum. And its dB = dh^T l takes a processor far longer than the transpose of l^T dh.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, low: Tensor, B: Tensor, scale: float) -> Tensor:
        ctx.mark_dirty(h)
        ctx.save_for_backward(low, B)
        ctx.scale = scale
        return h.addmm_(low, B.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor | None, ...]:
        (low, B), s = ctx.saved_tensors, ctx.scale
        return dh, (dh @ B).mul_(s), (low.T @ dh).mul_(s).T, None


def scaled_low_rank(
    base: nn.Module, x: Tensor, x_dropped: Tensor, A: Tensor, d: Tensor, B: Tensor, b: Tensor
) -> Tensor:
    """base(x) + b * B (d * A x_dropped), for d (r,) and b (out,); see low_rank."""
    x_flat = x.view(-1, x.shape[-1])  # (positions, in)
    h = base(x_flat)
    Ax = F.linear(x_flat if x_dropped is x else x_dropped.view_as(x_flat), A)  # (positions, r)
    return torch.addcmul(h, b, F.linear(d * Ax, B)).view(*x.shape[:-1], h.shape[-1])


def direction(weight: Tensor, A: Tensor, B: Tensor, s: float) -> Tensor:
    """V = W0 + s B A (out, in), in 32 bits at least."""
    dtype = torch.promote_types(A.dtype, torch.float32)
    # In place, into a copy: autocast leaves such products as wide as they are.
    return weight.to(dtype, copy=True).addmm_(B.to(dtype), A.to(dtype), alpha=s)


def row_norms(V: Tensor) -> Tensor:
    """||V|| of each row (out,), for V (out, in)."""
    # A row of zeros has g = 0 / tiny: it stays zero, where 0 / 0 would be NaN.
    return torch.linalg.vector_norm(V, dim=1).clamp_(min=torch.finfo(V.dtype).tiny)


def rescaled(h: Tensor, g: Tensor, b: Tensor | None) -> Tensor:
    """b + g * (h - b), for h (..., out), g (out,) and b (out,)."""
    return h * g if b is None else torch.addcmul(b - g * b, h, g)


def dora(base: nn.Module, x: Tensor, A: Tensor, B: Tensor, m: Tensor, s: float) -> Tensor:
    """b + m / ||V|| * (V x) with V = W0 + s B A, for x (..., in) and m (out,)."""
    x_flat = x.view(-1, x.shape[-1])  # (positions, in)
    return DenseProduct.apply(x_flat, A, B, m, base, s).view(*x.shape[:-1], len(m))


class DenseProduct(torch.autograd.Function):
    """b + g * (x V^T) with V = W0 + s B A (out, in), for x (positions, in); W0 and b are frozen.

    The norm needs V, so one product with V replaces three with W0, A and B. V is not saved: the
    backward pass recomputes what it needs from W0, A and B.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, A: Tensor, B: Tensor, m: Tensor, base: nn.Module, s: float
    ) -> Tensor:
        V = direction(dense_weight(base, x.dtype), A, B, s)
        b = None if base.bias is None else base.bias.to(x.dtype)
        h, norm = F.linear(x, V, b), row_norms(V)
        g = m / norm
        ctx.save_for_backward(x, A, B, h, g, norm, base.weight)  # autograd notices if one changes
        ctx.base, ctx.scale = base, s
        return rescaled(h, g, b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (x, A, B, h, g, norm, _), s, b = ctx.saved_tensors, ctx.scale, ctx.base.bias
        dh = dy * h
        dg = dh.sum(0) if b is None else dh.sum(0) - b * dy.sum(0)
        torch.mul(dy, g, out=dh)
        dAx = (dh @ B).mul_(s)  # (positions, r)
        dA = dAx.T @ x
        dB = ((x @ A.T).T @ dh).mul_(s).T
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (dh @ dense_weight(ctx.base, dy.dtype)).addmm_(dAx, A)
        return dx, dA, dB, dg / norm, None, None
