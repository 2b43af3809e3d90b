"""Merging after QLoRA: 16 bits, four again as in peft, and what either costs."""

import copy
import warnings

import peft
import pytest
import torch

import minipeft
from minipeft.quant import Linear4bit, quantize_nf4
from minipeft.quant.nf4 import dequantize
from tests.closeness import RTOL, assert_close
from tests.core.peers import copy_values, scramble, trained_by_peft, trained_by_us

from .bases import DEVICES, LINEAR, in_bitsandbytes, in_ours, llama, logits

# The scale is a power of two: wherever it is multiplied in, the product has the same bits.
OPTIONS = {"r": 4, "lora_alpha": 8, "target_modules": LINEAR}
HALF_A_GAP = (1 - 0.6961928009986877) / 2  # the widest gap between two levels of NF4


def adapted(base):
    """The same random update each time, about as large as the weights."""
    torch.manual_seed(0)
    model = minipeft.get_peft_model(base, minipeft.LoraConfig(**OPTIONS))
    scramble(trained_by_us(model))
    for layer in layers(model).values():
        layer.tuner.lora_B.weight.data.mul_(0.1)
    return model.train()


def layers(model):
    return model.adapters["default"].layers


def exact(model):
    """What each merged weight would be in 32 bits."""
    return {path: layer.merged_tensors()[0] for path, layer in layers(model).items()}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("compute_dtype", [None, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", [in_ours, in_bitsandbytes])
def test_sixteen_bits_by_default(form, compute_dtype, device):
    model = adapted(form(llama().to(device), compute_dtype=compute_dtype))
    stored = compute_dtype or torch.bfloat16
    before, wanted = logits(model), exact(model)
    bases = {path: layer.base_layer for path, layer in layers(model).items()}
    errors = model.merge_adapter(safe_merge=True)
    for path, layer in layers(model).items():
        weight = layer.base_layer.weight
        assert torch.equal(weight, wanted[path].to(stored)), path
        assert errors[path] == (weight.float() - wanted[path]).abs().max().item()
    assert_close(logits(model), before, rtol=RTOL[torch.bfloat16])
    model.unmerge_adapter()
    assert all(layer.base_layer is bases[path] for path, layer in layers(model).items())
    assert torch.equal(logits(model), before)


def test_merged_for_good_there_is_no_four_bit_layer_left(tmp_path):
    model = adapted(in_ours(llama()))
    model.merge_adapter()
    merged = logits(model)
    plain = model.merge_and_unload()
    assert not any(isinstance(module, Linear4bit) for module in plain.modules())
    assert torch.equal(logits(plain), merged)
    plain.save_pretrained(tmp_path)
    again = type(plain).from_pretrained(tmp_path, dtype=torch.bfloat16)
    own, saved = plain.state_dict(), again.state_dict()
    assert all(torch.equal(saved[name], own[name].bfloat16()) for name in own)


@pytest.mark.parametrize("double_quant", [False, True])
def test_requantized_is_pefts_merge_bit_for_bit(double_quant):
    """Of 32-bit weights. The bytes in peft's layers, and so those in ours on either layer."""
    theirs = peft.get_peft_model(in_bitsandbytes(llama(), double_quant), peft.LoraConfig(**OPTIONS))
    on_ours = adapted(in_ours(llama(), double_quant=double_quant))
    on_theirs = adapted(in_bitsandbytes(llama(), double_quant))
    copy_values(trained_by_us(on_ours), trained_by_peft(theirs))
    with warnings.catch_warnings(record=True):
        theirs.merge_adapter()  # it warns of rounding, layer by layer
    reference = {
        name.replace(".base_layer", "").removeprefix("base_model.model."): tensor
        for name, tensor in theirs.state_dict().items()
        if "lora" not in name
    }
    for model in (on_ours, on_theirs):
        state = model.merge_and_unload(requantize=True).state_dict()
        assert state.keys() == reference.keys()
        for name, tensor in reference.items():
            assert torch.equal(state[name], tensor), name


def test_peft_forgets_16_bit_weights_were_16_bits():
    """peft quantizes W' from 32 bits, and 32 bits are what it comes back as, where it came from 16.

    (peft.tuners.lora.bnb.Linear4bit.merge: W' = W + a delta in 32 bits goes into Params4bit.)
    Here W' is rounded to the 16 bits that the layer's weight had, and stays a weight of 16 bits.
    """
    theirs = peft.get_peft_model(in_bitsandbytes(llama(torch.bfloat16)), peft.LoraConfig(**OPTIONS))
    with warnings.catch_warnings(record=True):
        theirs.merge_adapter()
    weight = theirs.base_model.model.model.layers[0].mlp.up_proj.base_layer.weight
    assert weight.quant_state.dtype == torch.float32
    for form in (in_ours, in_bitsandbytes):
        model = adapted(form(llama(torch.bfloat16)))
        wanted = exact(model)
        model.merge_adapter(requantize=True)
        for path, layer in layers(model).items():
            rounded = quantize_nf4(wanted[path].bfloat16(), double_quant=True)
            state = layer.base_layer.state_dict()
            assert torch.equal(state["weight"], rounded.codes), path
            assert torch.equal(state["weight.absmax"].view(-1), rounded.constants.codes.view(-1))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
@pytest.mark.parametrize("double_quant", [False, True])
def test_requantized_error_is_what_is_printed_and_at_most_half_a_gap(
    double_quant, quant_type, device
):
    options = {"double_quant": double_quant, "quant_type": quant_type, "block_size": 32}
    model = adapted(in_ours(llama().to(device), **options))
    before, wanted = logits(model), exact(model)
    errors = model.merge_adapter(requantize=True)
    for path, layer in layers(model).items():
        stored = layer.base_layer.quantized
        assert (stored.quant_type, stored.block_size) == (quant_type, 32)
        error = (dequantize(stored) - wanted[path]).abs()
        assert errors[path] == error.max().item()
        if quant_type == "nf4" and not double_quant:
            largest = wanted[path].view(-1, 32).abs().amax(dim=1)
            assert (error.view(-1, 32).amax(dim=1) <= HALF_A_GAP * largest * (1 + 1e-6)).all()
    assert not torch.equal(logits(model), before)
    model.unmerge_adapter()
    assert torch.equal(logits(model), before)


def test_which_base_did_your_adapter_see(tmp_path):
    """It was trained on the four bits. Merged into the 16 bits they came from, it misses by what
    four bits had changed; into the four bits undone, by nothing but rounding; made four bits once
    more, by as much again, but elsewhere."""
    base = llama()
    model = adapted(in_ours(copy.deepcopy(base)))
    model.save_pretrained(tmp_path)
    seen = exact(model)  # the weights that training had in force
    undone = {path: layer.base_layer.dequantize() for path, layer in layers(model).items()}
    original = {path: base.get_submodule(path).weight.data for path in seen}

    onto_16 = minipeft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).merge_and_unload()
    onto_undone = adapted(in_ours(copy.deepcopy(base))).merge_and_unload()
    onto_4 = adapted(in_ours(copy.deepcopy(base))).merge_and_unload(requantize=True)
    miss = {"16": 0.0, "undone": 0.0, "4": 0.0}
    for path, weight in seen.items():
        landed = onto_16.get_submodule(path).weight
        assert_close(landed - weight, original[path] - undone[path], path)
        found = {
            "16": landed,
            "undone": onto_undone.get_submodule(path).weight,
            "4": onto_4.get_submodule(path).dequantize(),
        }
        for route, merged in found.items():
            miss[route] += (merged.float() - weight).square().sum().item()
    assert miss["undone"] < 1e-3 * miss["16"]
    assert 0.3 < miss["16"] / miss["4"] < 1.1  # W' is larger than W, so its gaps are wider


@pytest.mark.parametrize("form", [in_ours, in_bitsandbytes])
def test_safe_merge_refuses_what_isnt_finite(form):
    model = adapted(form(llama()))
    next(iter(trained_by_us(model).values())).data.fill_(torch.inf)
    before = logits(model)
    for requantize in (False, True):
        with pytest.raises(ValueError, match=r"model\.layers\.0.*NaN or inf"):
            model.merge_adapter(safe_merge=True, requantize=requantize)
    torch.testing.assert_close(logits(model), before, equal_nan=True, rtol=0, atol=0)
