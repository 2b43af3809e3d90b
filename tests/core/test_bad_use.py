"""Calls that make no sense: merge twice, unknown names, wrapped twice. Nothing may have changed."""

import pytest
import torch
from torch import nn

import minipeft

from .models import TOKENS, toy
from .peers import scramble, trained_by_us, wrap_ours
from .snapshots import assert_says, unchanged

OPTIONS = {
    "r": 2,
    "target_modules": ["first", "second"],
    "modules_to_save": ["norm"],
    "bias": "all",
}


def two_adapters() -> minipeft.PeftModel:
    model = wrap_ours(toy(), OPTIONS)
    scramble(trained_by_us(model))
    model.add_adapter("french", minipeft.LoraConfig(**OPTIONS))
    return model


def test_merge_twice():
    model = two_adapters()
    model.merge_adapter()
    for safe in (False, True):
        with unchanged(model), pytest.raises(RuntimeError) as error:
            model.merge_adapter(safe_merge=safe)
        assert_says(error, "default", "merged already", "unmerge_adapter")


def test_merging_a_single_layer_twice():
    layer = two_adapters().base_model.first
    layer.merge()
    with unchanged(layer), pytest.raises(RuntimeError, match="merged already"):
        layer.merge()


def test_unmerge_when_not_merged():
    model = two_adapters()
    with unchanged(model), pytest.raises(RuntimeError) as error:
        model.unmerge_adapter()
    assert_says(error, "default", "not merged", "merge_adapter")
    with pytest.raises(RuntimeError, match="not merged"):
        model.base_model.first.unmerge()


def test_merge_and_unload_after_merge_adds_nothing():
    """The bug of many tutorials: the second call adds the update again."""
    model = two_adapters()
    model.merge_adapter()
    merged = model(TOKENS)
    assert torch.equal(model.merge_and_unload()(TOKENS), merged)


@pytest.mark.parametrize("action", ["set_adapter", "delete_adapter"])
def test_unknown_adapter_name(action):
    model = two_adapters()
    for wrong, right in (("frensh", "'french'"), ("", "'default'"), ("Default", "'default'")):
        with unchanged(model), pytest.raises(ValueError) as error:
            getattr(model, action)(wrong)
        assert_says(error, repr(wrong), right)


def test_unknown_adapter_name_in_save(tmp_path):
    model = two_adapters()
    with unchanged(model), pytest.raises(ValueError) as error:
        model.save_pretrained(tmp_path / "out", selected_adapters=["default", "frensh"])
    assert_says(error, "'frensh'", "'french'")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["default", "french"])
def test_adding_a_name_twice(name):
    model = two_adapters()
    with unchanged(model), pytest.raises(ValueError) as error:
        model.add_adapter(name, minipeft.LoraConfig(**OPTIONS))
    assert_says(error, repr(name))


BAD_NAMES = ["a/b", "", "__base__", "..", "a\\b", "a.b", "tab\t", "ends\n", " ", "a b", "/etc"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_adapter_name(name):
    """A name becomes a folder: nothing that leaves the folder, and not the word for the base."""
    base = toy()
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, OPTIONS, name)
    assert_says(error, repr(name), "adapter_name")
    model = wrap_ours(base, OPTIONS)
    with unchanged(model), pytest.raises(ValueError) as error:
        model.add_adapter(name, minipeft.LoraConfig(**OPTIONS))
    assert_says(error, repr(name))


@pytest.mark.parametrize("name", [None, 3, ["default"]])
def test_adapter_name_that_is_no_text(name):
    base = toy()
    with unchanged(base), pytest.raises((TypeError, ValueError)) as error:
        wrap_ours(base, OPTIONS, name)
    assert_says(error, "adapter_name", repr(name))


def test_a_bad_config_for_a_second_adapter_changes_nothing():
    model = two_adapters()
    for wrong in ({"target_modules": ["frist"]}, {"r": 9}, {"modules_to_save": ["nrom"]}):
        with unchanged(model), pytest.raises(ValueError):
            model.add_adapter("third", minipeft.LoraConfig(**(OPTIONS | wrong)))


def test_wrapping_twice():
    model = wrap_ours(toy(), OPTIONS)
    config = minipeft.LoraConfig(**OPTIONS)
    for again in (model, model.base_model, nn.Sequential(model)):
        with unchanged(again), pytest.raises(ValueError) as error:
            minipeft.get_peft_model(again, config)
        assert_says(error, "add_adapter")


@pytest.mark.parametrize("thing", [None, "gpt2", toy, {}, [nn.Linear(2, 2)]])
def test_not_a_model(thing):
    with pytest.raises(TypeError) as error:
        minipeft.get_peft_model(thing, minipeft.LoraConfig(**OPTIONS))
    assert_says(error, "Module", type(thing).__name__)


@pytest.mark.parametrize("thing", [None, "lora", OPTIONS, minipeft.LoraConfig])
def test_not_a_config(thing):
    base = toy()
    with unchanged(base), pytest.raises(TypeError) as error:
        minipeft.get_peft_model(base, thing)
    assert_says(error, "LoraConfig")
    model = wrap_ours(base, OPTIONS)
    with unchanged(model), pytest.raises(TypeError):
        model.add_adapter("other", thing)


def test_arguments_the_other_way_round():
    with pytest.raises(TypeError) as error:
        minipeft.get_peft_model(minipeft.LoraConfig(**OPTIONS), toy())
    assert_says(error, "Module", "LoraConfig")


def test_a_config_changed_after_it_was_made_is_checked_again():
    """Dataclasses can be written to; a wrong value must not slip in that way."""
    config = minipeft.LoraConfig(**OPTIONS)
    config.r = 0
    base = toy()
    with unchanged(base), pytest.raises(ValueError, match="r=0"):
        minipeft.get_peft_model(base, config)


def test_merging_while_disabled():
    """It would put the update into the base that the block promises to be bare."""
    model = two_adapters()
    with unchanged(model), model.disable_adapter():
        with pytest.raises(RuntimeError, match="not attached"):
            model.merge_adapter()
        assert torch.equal(model(TOKENS), toy()(TOKENS))


def test_using_the_model_after_unload():
    """The adapter is off for good: no call may silently put it back."""
    model = two_adapters()
    base = model.unload()
    expected = base(TOKENS)
    with unchanged(base):
        for safe in (False, True):
            with pytest.raises(RuntimeError, match=r"not attached.*unload"):
                model.merge_adapter(safe_merge=safe)
        model.set_adapter("french")
        with model.disable_adapter():
            pass
        assert model.unload() is base
    assert torch.equal(base(TOKENS), expected)
