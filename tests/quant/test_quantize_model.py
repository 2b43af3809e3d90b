"""quantize_model: which layers, in which numbers, and what it refuses."""

import copy
import sys

import peft
import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

import minipeft
from minipeft.core.linear import dense_weight, is_linear
from minipeft.quant import Linear4bit, quantize_nf4
from tests.closeness import assert_close
from tests.core import models
from tests.core.every_method import MAKERS
from tests.core.models import FAMILIES
from tests.core.snapshots import assert_says, unchanged

from .bases import DEVICES, LINEAR, in_bitsandbytes, llama

LINEAR_LAYERS = {"llama": 3 * 7, "gpt2": 3 * 4, "bert": 3 * 6 + 1}  # but the head


def packed(model):
    return {path: layer for path, layer in model.named_modules() if isinstance(layer, Linear4bit)}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("double_quant", [False, True])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_linear_layer_but_the_head(family, double_quant, device):
    """Conv1D too: quantize_nf4's weights, and the answers of the dense model that they leave."""
    model = models.build(family).to(device)
    dense = copy.deepcopy(model)
    assert minipeft.quantize_model(model, double_quant=double_quant) is model
    found = packed(model)
    assert len(found) == LINEAR_LAYERS[family]
    left = [path for path, layer in model.named_modules() if is_linear(layer) and path not in found]
    assert left == (["classifier"] if family == "bert" else ["lm_head"])
    for path, layer in found.items():
        own = dense.get_submodule(path)
        weight = quantize_nf4(dense_weight(own), double_quant=double_quant)
        assert torch.equal(layer.weight, weight.codes), path
        assert torch.equal(layer.bias, own.bias) if layer.bias is not None else own.bias is None
        dense_weight(own).copy_(layer.dequantize())
    assert_close(answer(model), answer(dense))


def answer(model):
    device = next(model.parameters()).device
    return model(**{name: t.to(device) for name, t in models.batch().items()}).logits


def test_options_reach_the_layers():
    options = {"double_quant": False, "block_size": 32, "quant_type": "fp4", "compiled": True}
    model = minipeft.quantize_model(llama(), compute_dtype=torch.bfloat16, **options)
    for layer in packed(model).values():
        q = layer.quantized
        assert (q.offset, q.block_size, q.quant_type) == (None, 32, "fp4")
        assert layer.compiled and layer.compute_dtype == torch.bfloat16


@pytest.mark.parametrize("training", [False, True])
def test_modes_stay(training):
    assert all(
        m.training == training for m in minipeft.quantize_model(llama().train(training)).modules()
    )


@pytest.mark.parametrize(
    ("skip", "kept"),
    [
        (None, 0),
        ([], 0),
        (["lm_head"], 1),
        (["lm_head", "q_proj"], 3),
        (["proj", "lm_head"], "'proj'"),  # an ending starts at a dot
        (["layers.1"], 7 + 1),  # and the head, beside names of one's own
        (["layers.1.mlp", "layers.0.self_attn.q_proj"], 4 + 1),
    ],
)
def test_skip_goes_by_endings_of_names(skip, kept):
    model = llama()
    if isinstance(kept, str):
        with unchanged(model), pytest.raises(ValueError) as error:
            minipeft.quantize_model(model, skip=skip)
        assert_says(error, f"skip={kept}", "nearest: ", "up_proj")
    else:
        assert len(packed(minipeft.quantize_model(model, skip=skip))) == 15 - kept


def test_a_layer_in_two_places_stays_one_layer():
    shared = nn.Linear(8, 8)
    model = nn.ModuleDict(
        {"first": shared, "second": nn.Sequential(shared), "third": nn.Linear(8, 8)}
    )
    minipeft.quantize_model(model)
    assert isinstance(model["first"], Linear4bit)
    assert model["first"] is model["second"][0]
    assert len(packed(model)) == 2
    named = nn.ModuleDict(
        {"first": shared, "second": nn.Sequential(shared), "third": nn.Linear(8, 8)}
    )
    minipeft.quantize_model(named, skip=["second.0"])
    assert named["first"] is shared is named["second"][0]


@pytest.mark.parametrize("form", [minipeft.quantize_model, in_bitsandbytes])
def test_layers_in_four_bits_already_are_left_alone(form):
    model = form(llama())
    before = {path: m for path, m in model.named_modules() if type(m).__name__ == "Linear4bit"}
    assert len(before) == 14
    refused(model, "LlamaForCausalLM has no dense linear layer")
    minipeft.quantize_model(model, skip=[], block_size=32)
    assert model.lm_head.quantized.block_size == 32
    assert all(model.get_submodule(path) is layer for path, layer in before.items())


def test_without_memory_too():
    """Shapes alone, to load a 4-bit checkpoint into."""
    state = minipeft.quantize_model(llama()).state_dict()
    with torch.device("meta"):
        model = LlamaForCausalLM(llama().config)
    minipeft.quantize_model(model)
    assert all(layer.weight.is_meta for layer in packed(model).values())
    model.load_state_dict(state, assign=True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def refused(model, *words, error=ValueError, **options):
    with unchanged(model), pytest.raises(error) as found:
        minipeft.quantize_model(model, **options)
    assert_says(found, *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"block_size": 0}, ["block_size=0"]),
        ({"quant_type": "nf5"}, ["quant_type='nf5'", "nf4"]),
        ({"compute_dtype": torch.int8}, ["compute_dtype=torch.int8"]),
        ({"skip": "lm_head"}, ["skip='lm_head'", "list of str"]),
        ({"skip": ["lm_haed"]}, ["skip='lm_haed'", "'lm_head'"]),
        ({"skip": ["model", "lm_head"]}, ["LlamaForCausalLM has no dense linear layer"]),
    ],
)
def test_bad_options(options, words):
    refused(llama(), *words, **options)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite(value):
    model = llama()
    model.model.layers[1].mlp.down_proj.weight.data[3, 5] = value
    refused(model, "model.layers.1.mlp.down_proj.weight", "NaN or inf")
    minipeft.quantize_model(model, skip=["lm_head", "down_proj"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8])
def test_weights_of_other_dtypes(dtype):
    model = llama()
    layer = model.model.layers[1].mlp.down_proj
    layer.weight = nn.Parameter(layer.weight.data.to(dtype), requires_grad=False)
    refused(model, "model.layers.1.mlp.down_proj", str(dtype), "float32")


def test_tied_weights():
    model = llama()
    model.lm_head.weight = model.model.embed_tokens.weight
    refused(model, "lm_head", "model.embed_tokens", "skip", skip=[])
    minipeft.quantize_model(model)
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("method", sorted(MAKERS))
def test_an_adapted_model(method):
    model = minipeft.get_peft_model(llama(), MAKERS[method](LINEAR))
    refused(model, "PeftModel carries an adapter", "quantize_model", "get_peft_model")


def test_an_adapted_model_of_peft():
    model = peft.get_peft_model(llama(), peft.LoraConfig(target_modules=["q_proj"]))
    refused(model.base_model.model, "quantize_model", "get_peft_model")


@pytest.mark.parametrize("thing", [None, 3, {"weight": torch.zeros(2)}])
def test_what_is_no_model(thing):
    with pytest.raises(TypeError) as error:
        minipeft.quantize_model(thing)
    assert_says(error, type(thing).__name__, "nn.Module", "folder")


def test_a_bar_where_asked_for(capsys, monkeypatch):
    minipeft.quantize_model(llama())
    assert capsys.readouterr().err == ""  # no terminal here
    minipeft.quantize_model(llama(), progress=True)
    assert "14/14" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm", None)  # as where it isn't installed
    minipeft.quantize_model(llama(), progress=True)
    assert capsys.readouterr().err == ""
