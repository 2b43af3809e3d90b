"""Codes, constants and dequantized weights against bitsandbytes, bit for bit."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from minipeft.quant import dequantize_nf4, quantize_nf4
from minipeft.quant.codebooks import code_book
from minipeft.quant.nf4 import DTYPES, NESTED_BLOCK_SIZE, dequantize, quantize
from tests.closeness import assert_close

from . import oracle

SHAPES = st.one_of(
    st.lists(st.integers(1, 9), min_size=0, max_size=4).map(tuple),
    st.tuples(st.integers(1, 40), st.sampled_from([1, 31, 32, 33, 63, 64, 65, 96, 128, 200])),
    st.tuples(st.integers(1, 9000)),
)
DISTRIBUTIONS = {
    "normal": torch.randn,
    "uniform": lambda shape: 2 * torch.rand(shape) - 1,
    "constant": torch.ones,
    "two values": lambda shape: torch.randn(shape).sign(),
    "zero": torch.zeros,
    "heavy tails": lambda shape: torch.randn(shape) / (torch.rand(shape) + 1e-4),
    "sparse": lambda shape: torch.randn(shape) * (torch.rand(shape) < 0.02),
    "ties": lambda shape: ties(math.prod(shape)).view(shape),
    "ramp": lambda shape: torch.linspace(-1, 1, math.prod(shape)).view(shape),
}


def ties(count):
    """Values half-way between two levels, where a rounding error decides; and some largest ones."""
    thresholds = code_book("nf4", torch.device("cpu")).thresholds
    return torch.cat([thresholds, torch.ones(1)])[torch.randint(16, (count,))]


def weight(shape, distribution, scale, dtype, seed):
    torch.manual_seed(seed)
    largest = torch.finfo(dtype).max / 4
    return (DISTRIBUTIONS[distribution](shape) * scale).clamp(-largest, largest).to(dtype)


WEIGHTS = {
    "shape": SHAPES,
    "distribution": st.sampled_from(list(DISTRIBUTIONS)),
    "scale": st.sampled_from([1.0, -0.02, 3e-7, 1e-30, 1e30]),
    "dtype": st.sampled_from(DTYPES),
    "seed": st.integers(0, 10**6),
}


@given(**WEIGHTS, block_size=st.sampled_from(oracle.BLOCK_SIZES))
@example((3, 5), "zero", 1.0, torch.float32, 0, 64)
@example((2, 64), "zero", 1.0, torch.bfloat16, 0, 64)
@example((9000,), "heavy tails", 1e30, torch.float32, 0, 4096)
@example((9000,), "ties", -0.02, torch.float32, 0, 4096)
def test_same_bits_as_bitsandbytes(shape, distribution, scale, dtype, seed, block_size):
    values = weight(shape, distribution, scale, dtype, seed)
    theirs, state = oracle.quantize(values, block_size)
    ours = quantize_nf4(values, block_size)
    assert torch.equal(ours.codes, theirs)
    assert torch.equal(ours.absmax, state.absmax)
    assert ours.shape == values.shape and ours.dtype == dtype
    restored = dequantize_nf4(ours)
    assert restored.dtype == dtype and restored.shape == values.shape
    assert torch.equal(restored, oracle.dequantize(theirs, state))


@given(**WEIGHTS, block_size=st.sampled_from(oracle.BLOCK_SIZES))
def test_double_quantization_is_bitsandbytes_own(
    shape, distribution, scale, dtype, seed, block_size
):
    values = weight(shape, distribution, scale, dtype, seed)
    ours = quantize_nf4(values, block_size, double_quant=True)
    theirs, state = oracle.quantize(values, block_size, double_quant=True)
    assert torch.equal(ours.codes, theirs)
    assert torch.equal(ours.offset, state.offset)
    assert torch.equal(ours.constants.absmax, state.state2.absmax)
    absmax = oracle.bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset
    if (state.state2.absmax > 1e-37).all():  # the codes of a block of zeros mean nothing
        assert torch.equal(ours.constants.codes.view(-1), state.absmax)
        assert torch.equal(ours.absmax, absmax)
    torch.testing.assert_close(ours.absmax, absmax, rtol=0, atol=1e-37)
    assert torch.equal(dequantize_nf4(ours), oracle.dequantize(theirs, state))


@given(
    shape=SHAPES,
    block_size=st.integers(1, 200),
    double_quant=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_block_size(shape, block_size, double_quant, seed):
    """Against the definition: each value by itself, compared with all 16 levels."""
    values = weight(shape, "normal", 1.0, torch.float32, seed)
    ours = quantize_nf4(values, block_size, double_quant)
    flat = values.flatten()
    index = torch.arange(len(flat)) // block_size
    plain = torch.stack([flat[index == block].abs().max() for block in range(int(index[-1]) + 1)])
    distance = (flat / plain[index])[:, None] - ours.book.levels
    expected = ours.book.levels[distance.abs().argmin(dim=1)] * ours.absmax[index]
    assert_close(dequantize_nf4(ours).flatten(), expected)
    if not double_quant:
        assert torch.equal(ours.absmax, plain)


@pytest.mark.slow
@pytest.mark.compiler
@pytest.mark.parametrize(
    ("quant_type", "dtype", "shape"),
    [
        ("nf4", torch.float32, (96, 128)),
        ("nf4", torch.bfloat16, (33, 70)),
        ("fp4", torch.float16, (5002,)),
    ],
)
def test_compiled_is_the_same_to_the_bit(quant_type, dtype, shape):
    for values in (torch.randn(shape).to(dtype), ties(math.prod(shape)).view(shape).to(dtype)):
        plain = quantize(values, quant_type)
        fast = quantize(values, quant_type, compiled=True)
        assert torch.equal(fast.codes, plain.codes)
        assert torch.equal(fast.absmax, plain.absmax)
    assert torch.equal(dequantize(plain, compiled=True), dequantize(plain))


def test_parts_join_without_a_seam(monkeypatch):
    """Long weights are worked on in parts; the parts' size changes nothing."""
    values = torch.randn(7001)
    whole = quantize_nf4(values, 33)
    restored = dequantize_nf4(whole)
    monkeypatch.setattr("minipeft.quant.blocks._blocks_at_once", lambda values, block_size: 4)
    assert torch.equal(quantize_nf4(values, 33).codes, whole.codes)
    assert torch.equal(quantize_nf4(values, 33).absmax, whole.absmax)
    assert torch.equal(dequantize_nf4(whole), restored)


def test_quantizing_again_changes_nothing():
    """Levels are their own nearest levels: quantization is a projection."""
    once = quantize_nf4(torch.randn(40, 64))
    again = quantize_nf4(dequantize_nf4(once))
    assert torch.equal(again.codes, once.codes)
    assert torch.equal(again.absmax, once.absmax)


def test_other_layouts_in_memory():
    values = torch.randn(48, 64)
    transposed = quantize_nf4(values.T)
    assert torch.equal(transposed.codes, quantize_nf4(values.T.contiguous()).codes)
    assert dequantize_nf4(transposed).shape == (64, 48)


def test_no_gradient_reaches_the_codes():
    values = torch.randn(4, 64, requires_grad=True)
    assert not dequantize_nf4(quantize_nf4(values, double_quant=True)).requires_grad


@pytest.mark.parametrize(("rows", "double_quant"), [(64, False), (4096, True), (4096, False)])
def test_it_knows_its_bytes(rows, double_quant):
    """QLoRA, section 3: 0.5 bits of constants per weight become 8/64 + 32/(64 * 256) = 0.127."""
    ours = quantize_nf4(torch.randn(rows, 64), double_quant=double_quant)
    tensors = [ours.codes, ours.constants]
    if double_quant:
        tensors = [ours.codes, ours.constants.codes, ours.constants.constants, ours.offset]
    assert ours.nbytes == sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    bits = 8 * ours.nbytes / (rows * 64)
    per_block = 8 / 64 + 32 / (64 * NESTED_BLOCK_SIZE) if double_quant else 32 / 64
    offset = 32 / (rows * 64) if double_quant else 0
    assert bits == 4 + per_block + offset


def test_to_another_device_and_back():
    ours = quantize_nf4(torch.randn(3, 64), double_quant=True)
    assert ours.to("meta").absmax.is_meta
    assert torch.equal(dequantize_nf4(ours.to("cpu")), dequantize_nf4(ours))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compiled", [False, True])
def test_cuda_is_bitsandbytes_too(dtype, compiled):
    values = torch.randn(100, 192, dtype=dtype, device="cuda")
    theirs, state = oracle.quantize(values, 64)
    ours = quantize_nf4(values, 64, compiled=compiled)
    assert torch.equal(ours.codes, theirs)
    assert torch.equal(ours.absmax, state.absmax)
    restored = dequantize_nf4(ours, compiled=compiled)
    assert torch.equal(restored, oracle.bnb.dequantize_4bit(theirs, state))
    assert torch.equal(restored.cpu(), dequantize_nf4(ours.to("cpu")))
