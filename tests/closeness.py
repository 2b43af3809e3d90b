"""How near two results must be: a share of their size, so that no bound depends on a unit.

Processors add up in different orders, so results differ by some roundings of their largest term.
A bound is therefore relative to the largest magnitude that is expected, for every dtype; an
absolute one would be loose for small numbers and too tight for large ones.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

# The largest difference, as a share of the largest expected magnitude, that rounding explains:
# a model's layers and both directions of a training step, on any processor.
RTOL = {torch.float64: 1e-10, torch.float32: 5e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}


def assert_close(
    actual: Tensor, expected: Tensor, what: str = "", *, rtol: float | None = None
) -> None:
    """Same dtype, same shape, and max |actual - expected| <= rtol max |expected|."""
    assert actual.dtype == expected.dtype, (what, actual.dtype, expected.dtype)
    assert actual.shape == expected.shape, (what, actual.shape, expected.shape)
    _assert_within(actual, expected, what, rtol, _size(expected))


def assert_all_close(
    actual: Mapping[str, Tensor | None],
    expected: Mapping[str, Tensor | None],
    what: str = "",
    *,
    rtol: float | None = None,
) -> None:
    """`assert_close` for tensors of the same names, such as gradients; None is None on both sides.

    What is zero but for rounding (the gradient of a key's bias in an attention layer) has the
    noise of the terms that cancelled: a few roundings of the largest tensor are always allowed.
    """
    assert sorted(actual) == sorted(expected), (what, sorted(set(actual) ^ set(expected)))
    tensors = [tensor for tensor in expected.values() if tensor is not None]
    largest = max(map(_size, tensors), default=0.0)
    for name, tensor in expected.items():
        place = f"{what} {name}".strip()
        if tensor is None or actual[name] is None:
            assert actual[name] is tensor, place
            continue
        assert actual[name].dtype == tensor.dtype, (place, actual[name].dtype, tensor.dtype)
        assert actual[name].shape == tensor.shape, (place, actual[name].shape, tensor.shape)
        noise = 4 * torch.finfo(tensor.dtype).eps * largest
        _assert_within(actual[name], tensor, place, rtol, _size(tensor), noise)


def _size(tensor: Tensor) -> float:
    return tensor.detach().abs().max().item() if tensor.numel() else 0.0


def _assert_within(actual, expected, what, rtol, size, noise=0.0) -> None:
    rtol = RTOL[expected.dtype] if rtol is None else rtol
    difference = _size(actual.double() - expected.double())
    share = difference / size if size else float("inf")
    assert difference <= rtol * size + noise, (
        f"{what}: largest difference {difference:.3g} is {share:.3g} of the largest magnitude "
        f"{size:.3g}, not {rtol:.3g}"
    )
