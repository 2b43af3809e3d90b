"""The layout of bitsandbytes' checkpoints, read and written by bitsandbytes itself."""

import json

import pytest
import torch

from minipeft.quant.bnb_format import from_state, to_state
from minipeft.quant.nf4 import dequantize, quantize
from tests.core.snapshots import assert_says

from . import oracle

KINDS = [
    (quant_type, double_quant, dtype)
    for quant_type in ("nf4", "fp4")
    for double_quant in (False, True)
    for dtype in (torch.float32, torch.float16, torch.bfloat16)
]


def pair(quant_type="nf4", double_quant=True, dtype=torch.float32, shape=(24, 64), block_size=64):
    """The same weight quantized by both."""
    values = torch.randn(shape).to(dtype)
    ours = quantize(values, quant_type, block_size, double_quant)
    return ours, *oracle.quantize(values, block_size, quant_type, double_quant)


def as_checkpoint(codes, state):
    tensors = {f"layer.weight.{key}": tensor for key, tensor in state.as_dict(packed=True).items()}
    return {"layer.weight": codes} | tensors


@pytest.mark.parametrize(("quant_type", "double_quant", "dtype"), KINDS)
def test_they_read_ours(quant_type, double_quant, dtype):
    ours, *_ = pair(quant_type, double_quant, dtype)
    tensors = to_state(ours, "layer.weight")
    codes = tensors.pop("layer.weight")
    named = {key.removeprefix("layer."): tensor for key, tensor in tensors.items()}
    state = oracle.bnb.QuantState.from_dict(named, torch.device("cpu"))
    restored = oracle.dequantize(codes, state)
    assert restored.dtype == dtype
    assert torch.equal(restored, dequantize(ours))


@pytest.mark.parametrize(("quant_type", "double_quant", "dtype"), KINDS)
def test_we_read_theirs(quant_type, double_quant, dtype):
    _, codes, state = pair(quant_type, double_quant, dtype)
    ours = from_state(as_checkpoint(codes, state), "layer.weight")
    assert (ours.quant_type, ours.dtype, ours.block_size) == (quant_type, dtype, 64)
    assert torch.equal(dequantize(ours), oracle.dequantize(codes, state))


@pytest.mark.parametrize(("quant_type", "double_quant", "dtype"), KINDS)
def test_same_bytes_under_the_same_names(quant_type, double_quant, dtype):
    ours, codes, state = pair(quant_type, double_quant, dtype)
    mine, theirs = to_state(ours, "layer.weight"), as_checkpoint(codes, state)
    assert mine.keys() == theirs.keys()
    for key, tensor in theirs.items():
        assert mine[key].dtype == tensor.dtype and mine[key].shape == tensor.shape, key
        assert torch.equal(mine[key], tensor), key


def test_back_and_forth():
    ours, *_ = pair(shape=(5, 13), block_size=32)
    again = from_state(to_state(ours))
    assert torch.equal(dequantize(again), dequantize(ours))
    assert again.nbytes == ours.nbytes and again.shape == ours.shape


@pytest.mark.parametrize("storage", [torch.bfloat16, torch.float32])
def test_codes_stored_under_another_dtype(storage):
    """As bitsandbytes does for frameworks that refuse to shard integers."""
    values = torch.randn(16, 64)
    codes, state = oracle.bnb.quantize_4bit(values, quant_type="nf4", quant_storage=storage)
    ours = from_state(as_checkpoint(codes, state), "layer.weight")
    assert torch.equal(ours.codes, quantize(values).codes)


def test_other_types_have_no_place_there():
    with pytest.raises(ValueError) as error:
        to_state(quantize(torch.randn(64), "int4"))
    assert_says(error, "int4", "nf4", "fp4")


PREFIX = "weight.quant_state.bitsandbytes__nf4"


def cut(key):
    def damage(tensors):
        tensors[key] = tensors[key].flatten()[:-3]

    return damage


def without(key):
    return lambda tensors: tensors.pop(key)


def put(key, tensor):
    return lambda tensors: tensors.update({key: tensor})


def text(value):
    return put(PREFIX, torch.tensor(list(value.encode()), dtype=torch.uint8))


def says(**fields):
    """The JSON says something else."""

    def damage(tensors):
        about = json.loads(bytes(tensors[PREFIX].tolist()))
        text(json.dumps(about | fields))(tensors)

    return damage


DAMAGE = {
    "codes cut off": (cut("weight"), "codes", "765", "768"),
    "state cut off": (cut(PREFIX), PREFIX, "truncated"),
    "absmax cut off": (cut("weight.absmax"), "absmax", "21", "24"),
    "nested absmax cut off": (cut("weight.nested_absmax"), "absmax"),
    "no codes": (without("weight"), "weight"),
    "no state": (without(PREFIX), PREFIX),
    "no absmax": (without("weight.absmax"), "weight.absmax", "weight.nested_absmax"),
    "no nested absmax": (without("weight.nested_absmax"), "weight.nested_absmax"),
    "no levels": (without("weight.quant_map"), "weight.quant_map"),
    "other levels": (put("weight.quant_map", torch.zeros(16)), "weight.quant_map", "nf4"),
    "absmax of another dtype": (put("weight.absmax", torch.ones(24)), "weight.absmax", "uint8"),
    "empty state": (put(PREFIX, torch.zeros(0, dtype=torch.uint8)), PREFIX),
    "no JSON object": (text("[1]"), PREFIX),
    "fields missing": (text('{"blocksize": 64}'), PREFIX, "dtype"),
    "shape is no list": (says(shape=3), PREFIX, "shape"),
    "negative shape": (says(shape=[-24, -64]), PREFIX, "shape"),
    "other shape": (says(shape=[24, 65]), "codes", "(24, 65)", "768", "780"),
    "foreign dtype": (says(dtype="int8"), PREFIX, "dtype", "int8"),
    "block size 0": (says(blocksize=0), "block_size=0"),
    "block size in words": (says(blocksize="64"), PREFIX, "blocksize"),
    "nested block size 0": (says(nested_blocksize=0), "block_size=0"),
    "offset in words": (says(nested_offset="1"), PREFIX, "nested_offset"),
    "offset missing": (says(nested_offset=None), "weight.absmax", "float32"),
    "codes of a dense weight": (put("weight", torch.randn(24, 64)), "codes"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(damage):
    tensors = dict(to_state(pair()[0]))
    change, *words = DAMAGE[damage]
    change(tensors)
    with pytest.raises(ValueError) as error:
        from_state(tensors)
    assert_says(error, *words)
