"""What is attached acts, whoever reads the layer, or is refused; what is merged is merged whole."""

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

import minipeft
from minipeft.core.adapted import AdaptedLinear

from .models import TOKENS, build, toy
from .peers import scramble, trained_by_us, wrap_ours
from .snapshots import assert_says, unchanged

RANDOM = {"r": 2, "init_lora_weights": False}


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("use_dora", [False, True])
def test_torchs_fast_path_of_an_encoder_sees_the_adapter(norm_first, padded, use_dora):
    """In eval mode it hands linear1.weight to a kernel; training mode is the oracle."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True, norm_first=norm_first)
    base = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first)
    model = wrap_ours(base, {"target_modules": ["linear1", "linear2"], "use_dora": use_dora})
    scramble(trained_by_us(model))
    x, mask = torch.randn(2, 5, 16), torch.zeros(2, 5, dtype=torch.bool)
    mask[1, 3:] = padded
    with torch.no_grad():
        right = model.train()(x, src_key_padding_mask=mask)[~mask]
        used = model.eval()(x, src_key_padding_mask=mask)[~mask]
    assert (used - right).norm() <= 1e-5 * right.norm()


class Reads(nn.Module):
    """A model that multiplies with a layer's weight and never calls the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.a(x), self.b.weight.to(x.dtype), self.b.bias)


@pytest.mark.parametrize("config", [
    minipeft.LoraConfig(target_modules=["b"], **RANDOM),
    minipeft.LoraConfig(target_modules=["b"], use_dora=True, **RANDOM),
    minipeft.IA3Config(target_modules=["b"], feedforward_modules=[], init_ia3_weights=False),
])  # fmt: skip
def test_a_weight_read_past_the_layer_is_the_effective_one(config):
    model, x = minipeft.get_peft_model(Reads(), config), torch.randn(3, 8)
    right = model.base_model.b(model.base_model.a(x))
    answer = model(x)
    assert (answer - right).norm() <= 1e-5 * right.norm()
    answer.square().sum().backward()
    assert all(p.grad is not None for p in trained_by_us(model).values())
    layer = model.base_model.b
    assert torch.equal(layer.weight, layer.base_layer.weight)
    assert torch.equal(layer.weight + 1, layer.base_layer.weight + 1)


@pytest.mark.parametrize("product", [
    lambda x, layer: torch.cat([layer.weight.t(), torch.ones(8, 2)], dim=1).T @ x.T,
    lambda x, layer: torch.stack([x @ w.T for w in layer.weight.chunk(2, dim=0)]),
    lambda x, layer: torch.stack([x @ w for w in layer.weight.unbind()]),
    lambda x, layer: torch.einsum("bi,hoi->bho", x, layer.weight.unflatten(0, (2, 4))),
    lambda x, layer: torch.addmm(layer.bias, x.to(layer.weight), layer.weight.mT),
])  # fmt: skip
def test_other_forms_of_a_weight_are_the_effective_one_as_well(product):
    """MobileBERT joins a weight to another, DeBERTa splits one; merged is the oracle."""
    config = minipeft.LoraConfig(target_modules=["b"], use_dora=True, **RANDOM)
    model, x = minipeft.get_peft_model(Reads(), config), torch.randn(3, 8)
    adapted = product(x, model.base_model.b)
    plain = product(x, model.base_model.b.base_layer)
    model.merge_adapter()
    merged = product(x, model.base_model.b)
    assert (adapted - merged).norm() <= 1e-5 * merged.norm()
    assert (plain - merged).norm() > 1e-2 * merged.norm()


def test_slices_of_a_weight_are_the_effective_one_as_well():
    """Bloom's pretraining_tp multiplies with slices; the merged model is the oracle."""
    sizes = {"vocab_size": 64, "hidden_size": 32, "n_layer": 1, "n_head": 4}
    shape = transformers.BloomConfig(**sizes, pretraining_tp=2, slow_but_exact=True)
    base = transformers.BloomForCausalLM(shape)
    model = wrap_ours(base, {"target_modules": ["dense", "dense_4h_to_h"], **RANDOM}).eval()
    with torch.no_grad():
        adapted = model(TOKENS).logits
        model.merge_adapter()
        merged = model(TOKENS).logits
    assert (adapted - merged).norm() <= 1e-5 * merged.norm()


def test_a_weight_that_no_method_gives_says_so():
    model = minipeft.get_peft_model(Reads(), minipeft.BottleneckConfig(target_modules=["b"]))
    with pytest.raises(minipeft.NotMergeable, match="nonlinear"):
        model(torch.randn(3, 8))


def eight_bits(kind: type) -> nn.Module:
    base = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    base[0].weight = nn.Parameter(base[0].weight.detach().to(kind), requires_grad=False)
    return base


@pytest.mark.parametrize("make, words", [
    (lambda: eight_bits(torch.int8), ("int8", "quantize_model")),
    (lambda: eight_bits(torch.float8_e4m3fn), ("float8", "quantize_model")),
    (lambda: nn.Sequential(nn.LazyLinear(8)), ("without a shape", "run it once")),
])  # fmt: skip
def test_weights_that_are_no_matrix_of_numbers_are_refused(make, words):
    base = make()
    with pytest.raises(ValueError) as error:
        wrap_ours(base, {"r": 2, "target_modules": ["0"]})
    assert_says(error, "'0'", *words)


@pytest.mark.parametrize("options, words", [
    ({"layers_to_transform": [0, 7]}, ("layers_to_transform=7", "0")),
    ({"layers_to_transform": [0], "target_modules": ["q_proj", "lm_head"]}, ("lm_head", "q_proj")),
    ({"rank_pattern": {"lm_head": 1}}, ("rank_pattern", "lm_head", "q_proj")),
    ({"alpha_pattern": {r"layers\.9\.self_attn\.q_proj": 1}}, ("alpha_pattern", "layers")),
])  # fmt: skip
def test_an_entry_that_concerns_no_target_is_refused(options, words):
    base = build("llama")
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, {"r": 2, "target_modules": ["q_proj"]} | options)
    assert_says(error, *words)


@pytest.mark.parametrize("task", ["seq_cls", "SEQ_CLASS", "classification", ""])
def test_an_unknown_task_is_refused(task):
    for config in (minipeft.LoraConfig, minipeft.PromptTuningConfig, minipeft.PartialConfig):
        needed = {"num_virtual_tokens": 2} if config is minipeft.PromptTuningConfig else {}
        with pytest.raises(ValueError) as error:
            config(task_type=task, **needed)
        assert_says(error, repr(task), "SEQ_CLS")


def test_a_classifier_whose_head_has_another_name_is_refused():
    with pytest.raises(ValueError) as error:
        wrap_ours(toy(), {"r": 2, "target_modules": ["first"], "task_type": "SEQ_CLS"})
    assert_says(error, "classifier", "modules_to_save")
    options = {"r": 2, "target_modules": ["first"], "modules_to_save": ["second"]}
    wrap_ours(toy(), options | {"task_type": "SEQ_CLS"})


def test_a_layer_without_numbers_is_refused():
    base = toy()
    base.first.to("meta")
    with pytest.raises(ValueError) as error:
        wrap_ours(base, {"r": 2, "target_modules": ["first"]})
    assert_says(error, "first", "meta", "load")


class LinearRelu(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).relu()


def pruned() -> nn.Module:
    return prune.l1_unstructured(nn.Linear(8, 8), "weight", amount=0.5)


@pytest.mark.parametrize("make", [
    pruned, lambda: weight_norm(nn.Linear(8, 8)), lambda: LinearRelu(8, 8)
])  # fmt: skip
def test_a_layer_that_no_merge_would_hold_merges_nothing(make):
    """The first layer could be merged; the second can't: neither is."""
    base, x = nn.Sequential(nn.Linear(8, 8), make()), torch.randn(3, 8)
    model = wrap_ours(base, {"target_modules": "0|1", **RANDOM})
    before = model(x)
    for act in (model.merge_adapter, model.merge_and_unload):
        with pytest.raises(minipeft.NotMergeable):
            act()
        assert not model.merged
        assert not any(layer.merged for layer in model.adapters["default"].layers.values())
    assert torch.equal(model(x), before)


def test_an_error_in_the_middle_of_a_merge_leaves_nothing_merged(monkeypatch):
    model = wrap_ours(toy(), {"target_modules": ["first", "second"], **RANDOM})
    merged_tensors, calls = AdaptedLinear.merged_tensors, []

    def fails_second(layer):
        calls.append(layer)
        if len(calls) == 2:
            raise MemoryError("no room for another W'")
        return merged_tensors(layer)

    monkeypatch.setattr(AdaptedLinear, "merged_tensors", fails_second)
    with unchanged(model), pytest.raises(MemoryError):
        model.merge_adapter()
    assert not any(layer.merged for layer in model.adapters["default"].layers.values())


@pytest.mark.parametrize("merged", [False, True])
def test_unload_inside_disable_adapter_takes_the_adapter_off(merged):
    base = toy()
    model = wrap_ours(base, {"target_modules": ["first"], **RANDOM})
    if merged:
        model.merge_adapter()
    with model.disable_adapter():
        assert model.unload() is base
    assert type(base.first) is nn.Linear
    assert torch.equal(base(TOKENS), toy()(TOKENS))


def test_a_requantized_merge_is_the_same_after_disable_adapter():
    base = minipeft.quantize_model(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 4)), skip=["1"])
    model, x = wrap_ours(base, {"target_modules": ["0"], **RANDOM}), torch.randn(3, 64)
    model.merge_adapter(requantize=True)
    merged = model(x)
    with model.disable_adapter():
        pass
    assert torch.equal(model(x), merged)
