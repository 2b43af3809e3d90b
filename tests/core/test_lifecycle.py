"""Attach, train, disable, unload: the base that comes back is the base that went in."""

import pytest
import torch
from torch import nn

import minipeft

from .models import FAMILIES, TOKENS, build, logits, toy
from .peers import scramble, trained_by_us, wrap_ours
from .snapshots import assert_unchanged, take, unchanged


def full_options(family: str) -> dict:
    return {
        "r": 2,
        "target_modules": list(FAMILIES[family].targets),
        "bias": "all",
        "modules_to_save": [FAMILIES[family].head],
    }


def train_a_little(model: minipeft.PeftModel, steps: int = 3) -> None:
    model.train()
    optimizer = torch.optim.SGD(
        [values for values in model.parameters() if values.requires_grad], lr=0.5
    )
    for _ in range(steps):
        optimizer.zero_grad()
        logits(model).pow(2).mean().backward()
        optimizer.step()
    model.eval()


def test_training_changes_the_answer_and_unload_gives_the_base_back(family):
    base = build(family)
    for index, values in enumerate(base.parameters()):
        values.requires_grad_(index % 3 != 0)  # the user's own flags, none of our business
    before, answer = take(base), logits(base)
    model = wrap_ours(base, full_options(family))
    train_a_little(model)
    assert not torch.allclose(logits(model), answer)
    assert model.unload() is base
    assert_unchanged(base, before)
    assert torch.equal(logits(base), answer)


def test_a_base_in_training_mode_comes_back_in_training_mode(family):
    base = build(family).train()
    with unchanged(base):
        wrap_ours(base, full_options(family)).unload()


def test_a_base_can_be_adapted_again_after_unload(family):
    base = build(family)
    wrap_ours(base, full_options(family)).unload()
    again = wrap_ours(base, full_options(family))
    assert torch.equal(logits(again), logits(build(family)))


def test_only_the_adapter_trains(family):
    base = build(family)
    model = wrap_ours(base, {"r": 2, "target_modules": list(FAMILIES[family].targets)})
    frozen = {name: v.clone() for name, v in model.named_parameters() if not v.requires_grad}
    train_a_little(model)
    for name, values in model.named_parameters():
        if name in frozen:
            assert torch.equal(values, frozen[name]), name
    assert len(trained_by_us(model)) == 2 * len(model.adapters["default"].layers)


@pytest.mark.parametrize("raising", [False, True])
def test_disable_adapter_is_the_base_bit_for_bit(family, raising):
    answer = logits(build(family))
    model = wrap_ours(build(family), full_options(family))
    scramble(trained_by_us(model))
    adapted, before = logits(model), take(model)
    assert not torch.allclose(adapted, answer)
    try:
        with model.disable_adapter():
            assert torch.equal(logits(model), answer)
            if raising:
                raise KeyError("the user's own mistake")
    except KeyError:
        assert raising
    assert_unchanged(model, before)
    assert torch.equal(logits(model), adapted)


def test_disable_adapter_within_disable_adapter():
    model = wrap_ours(toy(), {"r": 2, "target_modules": ["first"]})
    scramble(trained_by_us(model))
    adapted, base = model(TOKENS), toy()(TOKENS)
    with model.disable_adapter():
        with model.disable_adapter():
            assert torch.equal(model(TOKENS), base)
        assert torch.equal(model(TOKENS), base)
    assert torch.equal(model(TOKENS), adapted)


def test_disable_adapter_while_merged():
    model = wrap_ours(toy(), {"r": 2, "target_modules": ["first"]})
    scramble(trained_by_us(model))
    model.merge_adapter()
    merged = model(TOKENS)
    with model.disable_adapter():
        assert torch.equal(model(TOKENS), toy()(TOKENS))
    assert model.merged
    assert torch.equal(model(TOKENS), merged)


def test_base_model_is_the_users_own_object():
    base = toy()
    model = minipeft.get_peft_model(base, minipeft.LoraConfig(r=2, target_modules=["first"]))
    assert model.get_base_model() is base
    assert model.base_model.model is base  # where peft has a wrapper
    assert isinstance(base.first, minipeft.AdaptedLinear)
    assert type(base.second) is nn.Linear


def test_calls_and_attributes_reach_the_base():
    base = build("llama")
    model = wrap_ours(base, {"r": 2, "target_modules": ["q_proj"]})
    assert model.config is base.config
    assert model.device == base.device
    tokens = model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=2, do_sample=False)
    assert tokens.shape == (1, 5)
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = model.no_such_thing


def test_the_users_config_is_left_alone():
    """One config may serve several models: attaching must not write into it (peft's does)."""
    config = minipeft.LoraConfig(r=2, target_modules="all-linear", task_type="SEQ_CLS")
    before = config.to_json()
    minipeft.get_peft_model(build("bert"), config)
    assert config.to_json() == before
    assert config.target_modules == "all-linear"


@pytest.mark.parametrize("merged", [False, True])
def test_a_released_base_has_no_trace_of_an_adapter(family, merged):
    plain = {name: type(module) for name, module in build(family).named_modules()}
    model = wrap_ours(build(family, torch.float64), full_options(family))
    scramble(trained_by_us(model))
    adapted = logits(model)
    base = model.merge_and_unload() if merged else model.unload()
    assert {name: type(module) for name, module in base.named_modules()} == plain
    assert sorted(base.state_dict()) == sorted(build(family).state_dict())
    assert torch.allclose(logits(base), adapted, atol=1e-10) == merged


def test_after_merge_and_unload_the_users_flags_are_back(family):
    base = build(family)
    for index, values in enumerate(base.parameters()):
        values.requires_grad_(index % 3 != 0)
    before = flags_of(base)
    assert flags_of(wrap_ours(base, full_options(family)).merge_and_unload()) == before


def flags_of(model: nn.Module) -> dict[str, bool]:
    named = model.named_parameters(remove_duplicate=False)  # a tied one under both its names
    return {name: values.requires_grad for name, values in named}
