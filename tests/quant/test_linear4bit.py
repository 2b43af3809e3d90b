"""Linear4bit against bitsandbytes' layer and against the dense layer of its dequantized weight."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from minipeft.quant import Linear4bit
from minipeft.quant.bnb_format import to_state
from tests.closeness import assert_close
from tests.core.snapshots import assert_says

from .oracle import linear, linear4bit

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def forward_backward(layer, x):
    x = x.clone().requires_grad_()
    y = layer(x)
    y.float().square().mean().backward()
    return y, x.grad


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("double_quant", [False, True])
@pytest.mark.parametrize("shape", [(128,), (5, 128), (2, 3, 128)])
def test_output_and_gradient_are_bitsandbytes_own(dtype, double_quant, shape):
    dense, x = linear(dtype=dtype), torch.randn(shape).to(dtype)
    ours = Linear4bit(copy.deepcopy(dense), double_quant=double_quant)
    reference = linear4bit(dense, double_quant=double_quant)
    reference.bias.requires_grad_(len(shape) == 2)  # their gradient of it is for matrices alone
    for mine, other in zip(forward_backward(ours, x), forward_backward(reference, x), strict=True):
        assert mine.dtype == dtype
        assert torch.equal(mine, other)
    if len(shape) == 2:
        assert torch.equal(ours.bias.grad, reference.bias.grad.to(dtype))


@pytest.mark.parametrize("compute_dtype", [torch.bfloat16, torch.float16])
def test_compute_dtype(compute_dtype):
    dense, x = linear(), torch.randn(4, 128)
    ours = Linear4bit(copy.deepcopy(dense), compute_dtype=compute_dtype)
    reference = linear4bit(dense, compute_dtype=compute_dtype)
    y, dx = forward_backward(ours, x)
    assert y.dtype == dx.dtype == torch.float32
    assert torch.equal(y, reference(x))
    dense_y = F.linear(*(t.to(compute_dtype) for t in (x, ours.dequantize(), ours.bias)))
    assert torch.equal(y, dense_y.float())
    assert ours.bias.dtype == torch.float32  # theirs is cast in place


def test_output_is_the_dense_layers_own():
    """With W' in its place: the same bits, bias or none."""
    for bias in (False, True):
        ours = Linear4bit(linear(bias=bias))
        x = torch.randn(7, 128)
        assert torch.equal(ours(x), F.linear(x, ours.dequantize(), ours.bias))


def test_gradients_in_64_bits():
    """And the second derivative, against finite differences."""
    ours = Linear4bit(linear(6, 4).float(), block_size=8)
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)

    def layer(x, bias):
        return torch.func.functional_call(ours, {"bias": bias}, (x,))

    assert torch.autograd.gradcheck(layer, (x, bias))
    assert torch.autograd.gradgradcheck(layer, (x, bias))


def test_the_weight_has_no_gradient():
    ours = Linear4bit(linear())
    assert not ours.weight.requires_grad
    forward_backward(ours, torch.randn(2, 128))
    assert ours.weight.grad is None
    with pytest.raises(RuntimeError):
        ours.weight.requires_grad_()


def test_nothing_dense_waits_for_the_backward_pass():
    saved = []
    dense, ours = linear(), Linear4bit(linear())
    x = torch.randn(2, 128, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        ours(x)
        assert saved == []
        dense(x)
    assert any(tensor.numel() == dense.weight.numel() for tensor in saved)  # the hook does see


def test_conv1d_is_turned_round():
    conv = Conv1D(96, 128)  # weight (in 128, out 96)
    nn.init.normal_(conv.bias)
    ours = Linear4bit(conv)
    assert (ours.in_features, ours.out_features) == (128, 96)
    as_linear = linear()
    as_linear.load_state_dict({"weight": conv.weight.T, "bias": conv.bias})
    x = torch.randn(3, 128)
    assert torch.equal(ours(x), Linear4bit(as_linear)(x))
    assert ours.dequantize().shape == (96, 128)


@pytest.mark.parametrize("double_quant", [False, True])
def test_casts_and_moves_leave_the_weight_alone(double_quant):
    ours = Linear4bit(linear(), double_quant=double_quant)
    before = ours.dequantize()
    for moved in (
        copy.deepcopy(ours),
        pickle.loads(pickle.dumps(ours)),
        copy.deepcopy(ours).half(),
        copy.deepcopy(ours).to(torch.bfloat16),
        copy.deepcopy(ours).double(),
    ):
        assert torch.equal(moved.dequantize(), before)
    for name, tensor in to_state(ours.quantized).items():
        assert torch.equal(tensor, ours.half().state_dict()[name])


def test_buffers_and_parameters_are_all_that_is_stored():
    ours = Linear4bit(linear(bias=False))
    stored = [*ours.parameters(), *ours.buffers()]
    assert sum(tensor.nbytes for tensor in stored) == ours.quantized.nbytes


def test_under_autocast_and_checkpointing():
    ours, dense = Linear4bit(linear()), linear()
    dense.weight.data = ours.dequantize()
    x = torch.randn(5, 128)
    with torch.autocast("cpu", torch.bfloat16):
        results = [forward_backward(layer, x) for layer in (ours, dense)]
    for mine, other in zip(*results, strict=True):
        assert mine.dtype == torch.float32  # that of x, as bitsandbytes gives it back
        assert_close(mine, other.float())
    again = forward_backward(lambda x: checkpoint(ours, x, use_reentrant=False), x)
    assert torch.equal(again[1], forward_backward(ours, x)[1])


@pytest.mark.slow
@pytest.mark.compiler
def test_compiled_layer_has_the_same_bits():
    plain, fast = Linear4bit(linear()), Linear4bit(linear(), compiled=True)
    x = torch.randn(5, 128)
    for mine, other in zip(forward_backward(plain, x), forward_backward(fast, x), strict=True):
        assert torch.equal(mine, other)


def test_frozen_bytes_stay_in_training():
    ours = Linear4bit(linear())
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in ours.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        forward_backward(ours, torch.randn(5, 128))
        optimizer.step()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name != "bias")


@pytest.mark.parametrize("wrong", [nn.Embedding(4, 4), nn.LayerNorm(4), 64, (64, 64, 64), "q_proj"])
def test_only_linear_layers(wrong):
    with pytest.raises(TypeError) as error:
        Linear4bit(wrong)
    assert_says(error, "Linear4bit", "nn.Linear", "in_features")


def test_not_twice():
    with pytest.raises(TypeError):
        Linear4bit(Linear4bit(linear()))


def test_bad_options():
    for options in ({"compute_dtype": torch.int8}, {"block_size": 0}, {"quant_type": "nf5"}):
        with pytest.raises(ValueError) as error:
            Linear4bit(linear(), **options)
        assert_says(error, next(iter(options)))
