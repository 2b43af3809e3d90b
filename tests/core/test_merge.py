"""Merging (Hu et al. 2021, section 4): W' = W0 + s B A for W0, exact to undo, never twice."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import minipeft
from tests.closeness import assert_all_close, assert_close

from .models import FAMILIES, TOKENS, build, logits, toy
from .peers import scramble, trained_by_us, twins, wrap_ours
from .snapshots import assert_unchanged, take, unchanged


def options_for(family: str) -> dict:
    return {"r": 3, "lora_alpha": 2, "target_modules": list(FAMILIES[family].targets)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_merged_equals_unmerged_and_unmerge_restores_exactly(family, dtype):
    model = wrap_ours(build(family, dtype), options_for(family))
    scramble(trained_by_us(model))
    adapted, before = logits(model), take(model)
    model.merge_adapter()
    assert_close(logits(model), adapted, "merged")
    model.unmerge_adapter()
    assert_unchanged(model, before)
    assert torch.equal(logits(model), adapted)


def test_merging_is_peft_s_merge(family):
    """The same W', and so the same logits, as peft's merge_and_unload."""
    pair = twins(family, options_for(family) | {"use_rslora": True, "bias": "lora_only"})
    ours, theirs = pair.ours.merge_and_unload(), pair.theirs.merge_and_unload()
    expected = theirs.state_dict()
    assert sorted(ours.state_dict()) == sorted(expected)
    assert_all_close(ours.state_dict(), expected)


def test_a_merged_layer_costs_one_product():
    """No added latency: a merged layer is the base's own product, with the merged weight."""
    model = wrap_ours(toy(), {"r": 2, "target_modules": ["first"]})
    scramble(trained_by_us(model))
    model.merge_adapter()
    layer = model.base_model.first
    x = torch.randn(3, 8)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.base_layer.weight, layer.bias))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_merges_accumulate_in_32_bits_and_say_what_they_lose(dtype):
    """W' is rounded once, from the exact sum: each entry is the nearest 16-bit number to it."""
    base = toy().to(dtype)
    model = wrap_ours(base, {"r": 2, "target_modules": ["first", "second"]})
    scramble(trained_by_us(model))
    before = take(model)
    exact = {}
    for path, layer in model.adapters["default"].layers.items():
        a, b = layer.tuner.lora_A.weight.double(), layer.tuner.lora_B.weight.double()
        exact[path] = (layer.weight.double() + layer.tuner.scaling * b @ a).detach()
    reported = model.merge_adapter()
    for path, layer in model.adapters["default"].layers.items():
        assert layer.weight.dtype == dtype
        error = (layer.weight.double() - exact[path]).abs()
        half_a_step = 0.5 * torch.finfo(dtype).eps * exact[path].abs()
        in_32_bits = 4 * torch.finfo(torch.float32).eps * exact[path].abs().max()
        assert (error <= half_a_step + in_32_bits).all()
        assert abs(reported[path] - error.max()) <= in_32_bits
        assert reported[path] > 0
    model.unmerge_adapter()
    assert_unchanged(model, before)


@settings(max_examples=40, deadline=None)
@given(
    actions=st.lists(st.sampled_from(["merge", "unmerge", "a", "b", "disable"]), max_size=8),
)
def test_no_sequence_of_actions_moves_a_bit_of_the_base(actions):
    """Merge, unmerge, switch and disable in any order: unload still gives the exact base."""
    base = toy()
    before = take(base)
    model = wrap_ours(base, {"r": 2, "target_modules": ["first"], "bias": "all"}, "a")
    model.add_adapter("b", minipeft.LoraConfig(r=1, target_modules=["first", "second"]))
    for name in ("b", "a"):
        model.set_adapter(name)
        scramble(trained_by_us(model))
    with torch.no_grad():
        answers = {}
        for name in ("b", "a"):
            model.set_adapter(name)
            answers[name] = model(TOKENS)
        for action in actions:
            act(model, action)
            assert_close(model(TOKENS), answers[model.active_adapter], str(actions))
    model.unload()
    assert_unchanged(base, before)


@pytest.mark.filterwarnings("ignore:.*merged.*")
def act(model: minipeft.PeftModel, action: str) -> None:
    """One step; what is not allowed now must raise, and is skipped."""
    merged = model.merged
    if action == "disable":
        with model.disable_adapter():
            assert torch.equal(model(TOKENS), toy()(TOKENS))
    elif action in ("merge", "unmerge"):
        step = model.merge_adapter if action == "merge" else model.unmerge_adapter
        if merged == (action == "merge"):
            with pytest.raises(RuntimeError, match="merged"):
                step()
        else:
            step()
    elif merged and action != model.active_adapter:
        with pytest.warns(UserWarning, match="merged"):
            model.set_adapter(action)
    else:
        model.unmerge_adapter() if merged else None
        model.set_adapter(action)


def test_merging_changes_no_count_and_no_saved_name():
    """W0 is kept aside, not registered: it is no parameter of the model while W' stands in."""
    model = wrap_ours(toy(), {"r": 2, "target_modules": ["first", "second"]})
    names, counts = sorted(model.state_dict()), model.get_nb_trainable_parameters()
    model.merge_adapter()
    assert sorted(model.state_dict()) == names
    assert model.get_nb_trainable_parameters() == counts


def test_a_merged_model_still_holds_frozen_base_weights():
    model = wrap_ours(toy(), {"r": 2, "target_modules": ["first"]})
    model.merge_adapter()
    assert not model.base_model.first.base_layer.weight.requires_grad


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_safe_merge_refuses_nan_and_inf_and_touches_nothing(poison):
    """The poison sits in the last layer: the layers before it must be untouched, too."""
    model = wrap_ours(build("llama"), options_for("llama"))
    scramble(trained_by_us(model))
    path, layer = list(model.adapters["default"].layers.items())[-1]
    with torch.no_grad():
        layer.tuner.lora_B.weight[0, 0] = poison
    for action in (model.merge_adapter, model.merge_and_unload):
        with unchanged(model), pytest.raises(ValueError, match="NaN or inf") as error:
            action(safe_merge=True)
        assert path in str(error.value)
    assert not model.merged


def test_safe_merge_refuses_an_overflow_of_the_base_s_own_type():
    """fp16 ends at 65,504: a finite fp32 sum above it would be inf in the merged weight."""
    model = wrap_ours(toy().half(), {"r": 1, "target_modules": ["first"]})
    with torch.no_grad():
        model.base_model.first.tuner.lora_A.weight.fill_(400.0)
        model.base_model.first.tuner.lora_B.weight.fill_(400.0)
    with unchanged(model), pytest.raises(ValueError, match=r"first.*NaN or inf"):
        model.merge_adapter(safe_merge=True)


def test_safe_merge_of_a_sound_adapter_is_a_merge():
    models = [wrap_ours(toy(), {"r": 2, "target_modules": ["first"]}) for _ in range(2)]
    for model, safe in zip(models, (False, True), strict=True):
        scramble(trained_by_us(model))
        with torch.no_grad():
            model.base_model.first.tuner.lora_A.weight.fill_(0.25)
        model.merge_adapter(safe_merge=safe)
    first, second = (model.base_model.first.base_layer.weight for model in models)
    assert torch.equal(first, second)


def test_a_merged_model_that_moves_still_comes_back():
    """.to() while merged: W0, kept aside, moves with the rest."""
    model = wrap_ours(toy(), {"r": 2, "target_modules": ["first"]})
    scramble(trained_by_us(model))
    model.merge_adapter()
    model.to(torch.float64)
    model.unmerge_adapter()
    assert torch.equal(model.unload().first.weight, toy().first.weight.double())


def test_unload_of_a_merged_model_gives_the_base():
    base = toy()
    with unchanged(base):
        model = wrap_ours(base, {"r": 2, "target_modules": ["first"]})
        scramble(trained_by_us(model))
        model.merge_adapter()
        assert model.unload() is base


def test_saved_modules_and_biases_stay_after_merge_and_unload():
    model = wrap_ours(
        toy(), {"r": 2, "target_modules": ["first"], "modules_to_save": ["norm"], "bias": "all"}
    )
    scramble(trained_by_us(model))
    adapted, norm = model(TOKENS), model.base_model.norm
    merged = model.merge_and_unload()
    assert merged.norm is norm
    assert_close(merged(TOKENS), adapted, "merged")
