"""Linear4bit's checkpoints: read and written by bitsandbytes, taken in without memory, refused."""

import bitsandbytes as bnb
import pytest
import torch
from torch import nn

from minipeft.quant import Linear4bit
from tests.core.snapshots import assert_says

from .oracle import linear, linear4bit


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
@pytest.mark.parametrize("double_quant", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_checkpoints_open_on_either_side(quant_type, double_quant, bias):
    dense, x = linear(bias=bias), torch.randn(4, 128)
    ours = nn.Sequential(Linear4bit(dense, 64, double_quant, quant_type=quant_type))
    reference = nn.Sequential(linear4bit(dense, quant_type, double_quant))
    state = ours.state_dict()
    assert state.keys() == reference.state_dict().keys()
    assert torch.equal(open_theirs(state, bias)(x), ours(x))
    fresh = nn.Sequential(Linear4bit((128, 96), 32, not double_quant, bias=bias))
    fresh.load_state_dict(reference.state_dict())
    assert torch.equal(fresh(x), reference(x))
    assert fresh[0].quantized.quant_type == quant_type


def open_theirs(state, bias):
    """A checkpoint in their layer, as transformers opens it."""
    layer = bnb.nn.Linear4bit(128, 96, bias=bias)
    parts = {key.removeprefix("0."): tensor for key, tensor in state.items()}
    constants = {key: tensor for key, tensor in parts.items() if key.startswith("weight.")}
    layer.weight = bnb.nn.Params4bit.from_prequantized(parts["weight"], constants, device="cpu")
    if bias:
        layer.bias.data = parts["bias"]
    return layer.train()


def test_a_layer_without_memory_takes_a_checkpoint_in():
    ours = Linear4bit(linear())
    with torch.device("meta"):
        empty = Linear4bit((128, 96))
    assert empty.weight.is_meta and empty.absmax.is_meta
    empty.load_state_dict(ours.state_dict(), assign=True)
    x = torch.randn(2, 128)
    assert torch.equal(empty(x), ours(x))


def test_a_checkpoint_that_does_not_fit_is_named():
    state = Linear4bit(linear()).state_dict()
    cases = {
        "(96, 128)": (Linear4bit((64, 96)), state),
        "truncated": (Linear4bit((128, 96)), {**state, STATE: state[STATE][:9]}),
        "weight.absmax": (
            Linear4bit((128, 96)),
            {key: state[key] for key in state if key != "weight.absmax"},
        ),
        "Missing key": (Linear4bit((128, 96)), {}),
    }
    for word, (layer, tensors) in cases.items():
        before = layer.dequantize()
        with pytest.raises(RuntimeError) as error:
            layer.load_state_dict(tensors)
        assert_says(error, word)
        assert torch.equal(layer.dequantize(), before)


STATE = "weight.quant_state.bitsandbytes__nf4"
