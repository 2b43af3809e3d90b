"""What should learn learns, however the base checkpoints; what was learned is what is saved."""

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import minipeft
from minipeft.interop.loading import load_tensors
from tests.closeness import assert_close

from .models import FAMILIES, build, toy
from .peers import gradients, scramble, trained_by_us, wrap_ours
from .snapshots import assert_says

RANDOM = {"r": 2, "init_lora_weights": False}


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_gradients_under_checkpointing_are_those_without(family, reentrant, before):
    settings = {"use_reentrant": reentrant}
    base = build(family, torch.float64)
    if before:
        base.gradient_checkpointing_enable(settings)
    model = wrap_ours(base, {"r": 2, "target_modules": list(FAMILIES[family].targets)}).train()
    trained = trained_by_us(model)
    scramble(trained)
    if not before:
        model.gradient_checkpointing_enable(settings)
    checkpointed = {name: g.clone() for name, g in gradients(model, trained).items()}
    model.gradient_checkpointing_disable()
    for name, gradient in gradients(model, trained).items():
        assert_close(checkpointed[name], gradient, name)


def test_pixels_reach_a_checkpointed_vision_model():
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape = transformers.ViTConfig(**sizes, intermediate_size=48, image_size=16, patch_size=8)
    base = transformers.ViTForImageClassification(shape)
    model = wrap_ours(base, {"r": 2, "target_modules": ["query"]}).train()
    model.gradient_checkpointing_enable()
    model(pixel_values=torch.ones(2, 3, 16, 16)).logits.sum().backward()
    assert all(p.grad is not None for p in trained_by_us(model).values())


@pytest.mark.parametrize("saved", [["norm"], ["second", "norm"]])
def test_a_replaced_module_is_the_one_that_is_saved(saved, tmp_path):
    model = wrap_ours(toy(), {"r": 2, "target_modules": ["first"], "modules_to_save": saved})
    model.base_model.norm = nn.LayerNorm(16)
    nn.init.normal_(model.base_model.norm.weight)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert torch.equal(tensors["base_model.model.norm.weight"], model.base_model.norm.weight)
    live = model.base_model.norm
    with model.disable_adapter():
        assert model.base_model.norm is not live
    assert model.base_model.norm is live


def test_a_replaced_adapted_layer_is_no_silent_loss(tmp_path):
    model = wrap_ours(toy(), {"r": 2, "target_modules": ["first", "second"]})
    model.base_model.second = nn.Linear(16, 8)
    for act in (lambda: model.save_pretrained(tmp_path), model.merge_adapter, model.unload):
        with pytest.raises(RuntimeError) as error:
            act()
        assert_says(error, "second", "attach")


def three() -> minipeft.PeftModel:
    model = wrap_ours(toy(), {"target_modules": ["first"], **RANDOM}, "a")
    model.add_adapter("b", minipeft.LoraConfig(target_modules=["second"], **RANDOM))
    bias = {"target_modules": ["first"], "bias": "all", "modules_to_save": ["norm"]}
    model.add_adapter("c", minipeft.LoraConfig(**bias, **RANDOM))
    return model.eval()


@pytest.mark.parametrize("active", ["a", "b", "c"])
@pytest.mark.parametrize("state", ["attached", "merged"])
def test_a_state_holds_every_adapter(active, state):
    torch.manual_seed(0)
    model = three()
    model.set_adapter(active)
    if state == "merged":
        model.merge_adapter()
    again = three()
    again.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    for name in "abc":
        for adapted in (model, again):
            with pytest.warns() if adapted.merged and name != active else torch.no_grad():
                adapted.set_adapter(name)
        left, right = (trained_by_us(adapted) for adapted in (model, again))
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left), name


def test_a_state_of_other_adapters_is_refused():
    model, other = three(), three()
    other.delete_adapter("b")
    for state in (model.state_dict(), wrap_ours(toy(), {"target_modules": ["first"]}).state_dict()):
        with pytest.raises(RuntimeError) as error:
            other.load_state_dict(state)
        assert_says(error, "adapter")


@pytest.mark.parametrize("strict", [True, False])
def test_an_adapters_file_is_no_state(strict, tmp_path):
    model = wrap_ours(toy(), {"r": 2, "target_modules": ["first"]})
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict(load_file(tmp_path / "adapter_model.safetensors"), strict=strict)
    assert_says(error, "load_adapter")


def test_loading_into_a_merged_layer_is_refused():
    model = wrap_ours(toy(), {"target_modules": ["first"], **RANDOM})
    state = model.state_dict()
    model.merge_adapter()
    with pytest.raises(RuntimeError, match="unmerge_adapter"):
        model.load_state_dict(state)


@pytest.mark.parametrize("config", [
    minipeft.PromptEncoderConfig(num_virtual_tokens=2),
    minipeft.PrefixTuningConfig(num_virtual_tokens=2, prefix_projection=True),
])  # fmt: skip
def test_a_file_can_not_be_put_back_behind_an_encoder(config):
    adapter = minipeft.get_peft_model(build("llama"), config).adapters["default"]
    with pytest.raises(ValueError, match="encoder"):
        load_tensors(adapter, {k: v.clone() for k, v in adapter.state_dict().items()})


def compiled() -> nn.Module:
    return torch.compile(toy(), backend="eager")


def checkpoint_wrapped() -> nn.Module:
    base = toy()
    base.norm = checkpoint_wrapper(base.norm)
    return base


@pytest.mark.parametrize("wrapped", [compiled, checkpoint_wrapped])
@pytest.mark.parametrize("bias", ["none", "all"])
def test_files_say_nothing_of_wrappers(wrapped, bias, tmp_path):
    options = {"target_modules": ["first"], "modules_to_save": ["norm"], "bias": bias, **RANDOM}
    tokens = torch.arange(10).reshape(2, 5)
    for train, use in ((wrapped, toy), (toy, wrapped)):
        model = wrap_ours(train(), options).eval()
        model.save_pretrained(tmp_path / train.__name__)
        keys = load_file(tmp_path / train.__name__ / "adapter_model.safetensors")
        assert not any("_orig_mod" in key or "_wrapped_module" in key for key in keys)
        again = minipeft.PeftModel.from_pretrained(use(), tmp_path / train.__name__)
        with torch.no_grad():
            assert_close(again(tokens), model(tokens))


@pytest.mark.parametrize("name", ["modules_to_save", "original_module", "base_layer", "tuner"])
def test_a_base_may_call_its_modules_as_wrappers_are_called(name, tmp_path):
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.add_module(name, nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return getattr(self, name)(x)

    options = {"target_modules": [f"{name}.0"], "modules_to_save": [f"{name}.1"], **RANDOM}
    model, x = wrap_ours(Named(), options).eval(), torch.randn(3, 8)
    model.save_pretrained(tmp_path)
    again = minipeft.PeftModel.from_pretrained(Named(), tmp_path)
    assert torch.equal(again(x), model(x))
