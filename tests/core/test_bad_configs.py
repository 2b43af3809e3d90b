"""Wrong options: one error that names the option, its value and the nearest choice."""

import math

import peft
import pytest

import minipeft

from .models import build
from .peers import wrap_ours
from .snapshots import assert_says, unchanged

OUT_OF_RANGE = {
    "r = 0": ({"r": 0}, ("r", "0", "1")),
    "r negative": ({"r": -3}, ("r", "-3", "1")),
    "r a fraction": ({"r": 2.5}, ("r", "2.5")),
    "r a text": ({"r": "8"}, ("r", "'8'")),
    "r a truth value": ({"r": True}, ("r", "True")),
    "r missing": ({"r": None}, ("r", "None")),
    "rank pattern": ({"rank_pattern": {"q_proj": 0}}, ("q_proj", "0", "1")),
    "dropout 1": ({"lora_dropout": 1.0}, ("lora_dropout", "1.0", "0")),
    "dropout negative": ({"lora_dropout": -0.1}, ("lora_dropout", "-0.1")),
    "dropout in percent": ({"lora_dropout": 10}, ("lora_dropout", "10")),
    "dropout NaN": ({"lora_dropout": math.nan}, ("lora_dropout", "nan")),
    "bias of another method": ({"bias": "lora"}, ("bias", "'lora'", "lora_only", "none", "all")),
    "bias as a truth value": ({"bias": True}, ("bias", "True", "lora_only")),
    "start unknown": (
        {"init_lora_weights": "gausian"},
        ("init_lora_weights", "gausian", "gaussian"),
    ),
    "start of peft's that is not here": ({"init_lora_weights": "olora"}, ("olora", "gaussian")),
}


@pytest.mark.parametrize(("options", "words"), OUT_OF_RANGE.values(), ids=OUT_OF_RANGE.keys())
def test_value_out_of_range(options, words):
    with pytest.raises(ValueError) as error:
        minipeft.LoraConfig(**({"target_modules": ["q_proj"]} | options))
    assert_says(error, *words)


WRONG_KIND = {
    "dropout a text": ({"lora_dropout": "0.1"}, ("lora_dropout", "0.1")),
    "alpha a text": ({"lora_alpha": "16"}, ("lora_alpha", "16")),
    "alpha NaN": ({"lora_alpha": math.nan}, ("lora_alpha", "nan")),
    "alpha of a pattern": ({"alpha_pattern": {"q_proj": "16"}}, ("q_proj", "16")),
    "saved modules as one text": ({"modules_to_save": "lm_head"}, ("modules_to_save", "lm_head")),
    "a pattern that is a list": ({"rank_pattern": ["q_proj"]}, ("rank_pattern", "q_proj")),
    "layers as a text": ({"layers_to_transform": "1"}, ("layers_to_transform", "1")),
    "a broken regex": ({"target_modules": "layers.(0|1"}, ("target_modules", "layers.(0|1")),
    "a broken exclusion": ({"exclude_modules": "*q_proj"}, ("exclude_modules", "*q_proj")),
    "a broken pattern": ({"rank_pattern": {"*q_proj": 2}}, ("rank_pattern", "*q_proj")),
}


@pytest.mark.parametrize(("options", "words"), WRONG_KIND.values(), ids=WRONG_KIND.keys())
def test_wrong_kind_of_value(options, words):
    """Refused when the config is made or when it meets the model, but never taken silently."""
    base = build("llama")
    with unchanged(base), pytest.raises((ValueError, TypeError)) as error:
        wrap_ours(base, {"r": 2, "target_modules": ["q_proj"]} | options)
    assert_says(error, *words)


@pytest.mark.parametrize("targets", ["all-linear", r".*q_proj"])
@pytest.mark.parametrize("option", ["layers_to_transform", "layers_pattern"])
def test_layers_can_be_chosen_for_listed_targets_only(targets, option):
    """As in peft (LoraConfig.__post_init__): with a pattern the choice would go unheard."""
    value = {"layers_to_transform": [1], "layers_pattern": "layers"}[option]
    with pytest.raises(ValueError):
        peft.LoraConfig(r=2, target_modules=targets, **{option: value})
    base = build("llama")
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, {"r": 2, "target_modules": targets, option: value})
    assert_says(error, option)


def test_a_layers_pattern_needs_layers():
    with pytest.raises(ValueError):
        peft.LoraConfig(r=2, target_modules=["q_proj"], layers_pattern="layers")
    base = build("llama")
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, {"r": 2, "target_modules": ["q_proj"], "layers_pattern": "layers"})
    assert_says(error, "layers_pattern", "layers_to_transform")


MISSPELLED = {
    "lora_rank": "r",
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    "target_module": "target_modules",
    "use_rslra": "use_rslora",
}


@pytest.mark.parametrize(("wrong", "right"), MISSPELLED.items())
def test_unknown_option(wrong, right):
    with pytest.raises(TypeError) as error:
        minipeft.LoraConfig(**{wrong: 8})
    assert_says(error, repr(wrong), "LoraConfig")
    if wrong != "lora_rank":  # no spelling is near a one-letter name
        assert_says(error, repr(right))
