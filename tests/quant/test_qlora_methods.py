"""Every method on a 4-bit base, ours or bitsandbytes', as on the dense base that 4 bits leave."""

import pytest
import torch

import minipeft
from minipeft.quant import Linear4bit
from tests.closeness import assert_close
from tests.core.every_method import MAKERS, trained
from tests.core.peers import scramble
from tests.core.snapshots import assert_says, unchanged

from .bases import DEVICES, LINEAR, in_bitsandbytes, in_ours, llama, logits, loss, undone

METHODS = [method for method in MAKERS if method != "partial"]  # it trains W itself
MERGED = ["LoRA", "DoRA", "PiSSA", "AdaLoRA", "VeRA", "IA3", "diff pruning"]


def adapted(base, method):
    """The same adapter whatever the layers, every trained tensor random."""
    torch.manual_seed(0)
    model = minipeft.get_peft_model(base, MAKERS[method](LINEAR)).train()
    scramble(trained(model))
    return model


def backward(model):
    torch.manual_seed(1)  # diff pruning's gates have noise
    value = loss(model) + model.penalty()
    value.backward()
    gradients = {name: parameter.grad for name, parameter in trained(model).items()}
    return value, gradients


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradients_are_those_on_any_base(method, device):
    forms = (in_ours, in_bitsandbytes, undone)
    (value, gradients), *others = (
        backward(adapted(form(llama().to(device)), method)) for form in forms
    )
    moved = [name for name, gradient in gradients.items() if gradient is not None]
    assert moved
    for other, theirs in others:
        assert_close(value, other, "loss")
        assert theirs.keys() == gradients.keys()
        for name in moved:
            assert_close(gradients[name], theirs[name], name)


@pytest.mark.parametrize("method", METHODS)
def test_no_dense_weight_waits_for_the_backward_pass(method):
    """By value: diff pruning's own tensors have the same shapes."""
    model, waiting = adapted(in_ours(llama()), method), []
    layers = [layer for layer in model.modules() if isinstance(layer, Linear4bit)]

    def hold(tensor):
        waiting.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        loss(model)
    assert waiting and len(layers) == 2 * len(LINEAR)
    for weight in [layer.dequantize() for layer in layers]:
        for tensor in waiting:
            for same in (weight, weight.T):
                assert tensor.shape != same.shape or not torch.equal(tensor, same)


@pytest.mark.parametrize("method", MERGED)
def test_merging_gives_the_dense_bases_weight_in_16_bits(method):
    packed, dense = (adapted(form(llama()), method).eval() for form in (in_ours, undone))
    frozen = logits(packed)
    errors = packed.merge_adapter()
    dense.merge_adapter()
    theirs = dense.adapters["default"].layers
    for path, layer in packed.adapters["default"].layers.items():
        exact, stored = theirs[path].base_layer.weight, layer.base_layer.weight
        assert stored.dtype == torch.bfloat16
        assert torch.equal(stored, exact.bfloat16()), path
        assert errors[path] == (stored.float() - exact).abs().max().item()
    packed.unmerge_adapter()
    assert torch.equal(logits(packed), frozen)


@pytest.mark.parametrize("form", [in_ours, in_bitsandbytes])
@pytest.mark.parametrize(
    "config",
    [
        minipeft.PartialConfig(last_layers=1),
        minipeft.LoraConfig(target_modules=["q_proj"], modules_to_save=["mlp"]),
    ],
)
def test_what_trains_the_weight_itself_is_refused(config, form):
    model = form(llama())
    with unchanged(model), pytest.raises(ValueError) as error:
        minipeft.get_peft_model(model, config)
    assert_says(error, "model.layers.", "_proj.weight", "4 bits", "skip=")


def test_a_layer_left_dense_is_trained_in_full():
    model = in_ours(llama(), skip=["lm_head", "layers.1.mlp"])
    config = minipeft.LoraConfig(target_modules=["q_proj"], modules_to_save=["layers.1.mlp"])
    loss(minipeft.get_peft_model(model, config)).backward()
