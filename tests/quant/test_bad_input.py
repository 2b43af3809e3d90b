"""What can't be quantized is named, with its value and the nearest valid choice."""

import math

import pytest
import torch

from minipeft.quant import Linear4bit, QuantizedTensor, dequantize_nf4, quantize_nf4
from minipeft.quant.nf4 import quantize
from tests.core.snapshots import assert_says

WEIGHT = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float64])
def test_dtypes(dtype):
    with pytest.raises(ValueError) as error:
        quantize_nf4(torch.ones(3, 4).to(dtype))
    assert_says(error, str(dtype), "torch.float32", "torch.bfloat16")


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 64)])
def test_empty(shape):
    with pytest.raises(ValueError) as error:
        quantize_nf4(torch.empty(shape))
    assert_says(error, str(shape), "empty")


def test_no_tensor():
    with pytest.raises(TypeError) as error:
        quantize_nf4([1.0, 2.0])
    assert_says(error, "list", "torch.Tensor")


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [(0, 0), (2, 40), (3, 63)])
@pytest.mark.parametrize("options", [{}, {"double_quant": True}, {"block_size": 100}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nan_and_infinity(wrong, place, options, dtype):
    weight = WEIGHT.to(dtype, copy=True)
    weight[place] = wrong
    with pytest.raises(ValueError) as error:
        quantize_nf4(weight, **options)
    assert_says(error, "1 values", "NaN or infinite", str(place))


@pytest.mark.parametrize("block_size", [0, -64, 64.0, "64", None, True])
def test_block_sizes(block_size):
    with pytest.raises(ValueError) as error:
        quantize_nf4(WEIGHT, block_size)
    assert_says(error, f"block_size={block_size!r}", "64")


def test_types():
    with pytest.raises(ValueError) as error:
        quantize(WEIGHT, "nf3")
    assert_says(error, "nf3", "nf4")


def test_codes_and_constants_that_do_not_fit():
    whole = quantize_nf4(WEIGHT)
    cases = {
        "codes has 127": (whole.codes[:-1], whole.constants, WEIGHT.shape),
        "absmax has 3": (whole.codes, whole.constants[:-1], WEIGHT.shape),
        "130": (whole.codes, whole.constants, torch.Size([4, 65])),
        "torch.float32": (whole.codes.float(), whole.constants, WEIGHT.shape),
    }
    for word, parts in cases.items():
        with pytest.raises(ValueError) as error:
            QuantizedTensor(*parts)
        assert_says(error, word)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_gpu_that_is_not_there(device):
    with pytest.raises(ValueError) as error:
        quantize_nf4(WEIGHT).to(device)
    assert_says(error, device, "cpu")


@pytest.mark.parametrize("largest", [3.0e38, torch.finfo(torch.float32).max])
def test_the_largest_numbers_are_no_infinity(largest):
    restored = dequantize_nf4(quantize_nf4(torch.tensor([largest, -largest, 0.0])))
    assert restored.tolist() == pytest.approx([largest, -largest, 0.0])


def test_a_layer_says_the_same():
    layer = torch.nn.Linear(64, 4)
    layer.weight.data[1, 2] = math.nan
    with pytest.raises(ValueError) as error:
        Linear4bit(layer)
    assert_says(error, "(1, 2)")
