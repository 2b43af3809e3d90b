"""Targets that match nothing, or what no adapter can sit on: the error names the nearest choice."""

import re

import peft
import pytest
import torch
from torch import nn

from minipeft import AdaLoraConfig, LoraConfig, VeraConfig, get_peft_model

from .models import TOKENS, build, toy
from .peers import wrap_ours
from .snapshots import assert_says, unchanged

NO_TARGET = {
    "misspelled": (["q_porj"], ("q_porj", "q_proj")),
    "one of two misspelled": (["v_proj", "q_porj"], ("q_porj", "q_proj")),
    "of another family": (["query"], ("query", "k_proj")),
    "part of a name": (["proj"], ("proj",)),
    "regex of a part": ("q_proj", ("q_proj",)),  # a string is a pattern for the whole name
    "of the layer list": (["layers.7.self_attn.q_proj"], ("layers.7",)),
    "empty list": ([], ("target_modules",)),
    "empty text": ("", ("target_modules",)),
}


@pytest.mark.parametrize(("targets", "words"), NO_TARGET.values(), ids=NO_TARGET.keys())
def test_target_that_matches_nothing(targets, words):
    base = build("llama")
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, {"r": 2, "target_modules": targets})
    assert_says(error, "target_modules", *words)


def test_the_error_lists_names_that_there_are():
    base = build("bert")
    with pytest.raises(ValueError) as error:
        wrap_ours(base, {"r": 2, "target_modules": ["q_proj"]})
    endings = {name.rpartition(".")[2] for name, _ in base.named_modules()}
    quoted = {word for word in str(error.value).split("'") if word in endings}
    assert quoted >= {"query", "key", "value"} or len(quoted) >= 3


EXCLUDED = {
    "all excluded": {"exclude_modules": ["q_proj"]},
    "all in saved modules": {"modules_to_save": ["self_attn"]},
    "no such layer": {"layers_to_transform": [7]},
}


@pytest.mark.parametrize("options", EXCLUDED.values(), ids=EXCLUDED.keys())
def test_options_that_leave_nothing_over(options):
    base = build("llama")
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, {"r": 2, "target_modules": ["q_proj"]} | options)
    ((name, value),) = options.items()
    assert_says(error, "q_proj", name, str(value))


@pytest.mark.parametrize("which", ["exclude_modules", "modules_to_save"])
def test_other_names_that_match_nothing(which):
    base = build("llama")
    options = {"r": 2, "target_modules": ["q_proj", "v_proj"], which: ["lm_haed"]}
    if which == "exclude_modules":
        options[which] = ["v_porj"]
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, options)
    assert_says(
        error, which, options[which][0], {"exclude_modules": "v_proj"}.get(which, "lm_head")
    )


@pytest.mark.parametrize("which", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_matches_no_module(which):
    """A misspelled key would leave the layer at the default rank; peft only warns."""
    options = {"r": 2, "target_modules": ["q_proj"], which: {"q_porj": 1}}
    with pytest.warns(RuntimeWarning, match="q_porj"):
        peft.get_peft_model(build("llama"), peft.LoraConfig(**options))
    base = build("llama")
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, options)
    assert_says(error, which, "q_porj", "q_proj")
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, options | {which: {"v_proj": 1}})  # a module, though no target
    assert_says(error, which, "v_proj", "no target", "q_proj")


def test_rank_larger_than_the_layer():
    base = build("llama")  # q_proj is 24 x 24, k_proj 12 x 24
    for options in ({"r": 13}, {"r": 2, "rank_pattern": {"k_proj": 13}}):
        with unchanged(base), pytest.raises(ValueError) as error:
            wrap_ours(base, {"target_modules": ["q_proj", "k_proj"]} | options)
        assert_says(error, "13", "k_proj", "12")
    wrap_ours(base, {"target_modules": ["q_proj", "k_proj"], "r": 12})


NOT_LINEAR = {
    "embedding": ("embed_tokens", "Embedding"),
    "norm": ("input_layernorm", "LlamaRMSNorm"),
    "block": ("mlp", "LlamaMLP"),
    "list of blocks": ("layers", "ModuleList"),
}


@pytest.mark.parametrize(("target", "kind"), NOT_LINEAR.values(), ids=NOT_LINEAR.keys())
def test_target_that_is_not_a_linear_layer(target, kind):
    base = build("llama")
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, {"r": 2, "target_modules": ["q_proj", target]})
    assert_says(error, target, kind)


def test_attention_that_reads_weights_past_the_layer():
    """nn.MultiheadAttention takes out_proj.weight and never calls out_proj."""
    base = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, {"r": 2, "target_modules": ["linear1", "out_proj"]})
    assert_says(error, "self_attn.out_proj", "MultiheadAttention")
    model = wrap_ours(base, {"r": 2, "target_modules": ["linear1", "linear2"]})
    assert model(torch.randn(1, 3, 8)).shape == (1, 3, 8)


def test_all_linear_passes_over_that_attention():
    base = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = wrap_ours(base, {"r": 2, "target_modules": "all-linear"})
    assert set(model.adapters["default"].layers) == {"linear1", "linear2"}


def test_a_model_without_a_linear_layer():
    base = nn.Sequential(nn.Embedding(4, 4), nn.LayerNorm(4))
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, {"r": 2, "target_modules": "all-linear"})
    assert_says(error, "all-linear", "Sequential")


def test_a_layer_that_only_sounds_linear():
    base = nn.Sequential(nn.Linear(4, 4), nn.Bilinear(4, 4, 4))
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, {"r": 2, "target_modules": ["1"]})
    assert_says(error, "'1'", "Bilinear")


def test_an_adapter_on_the_model_itself():
    """A bare nn.Linear has no owner in which to put an adapter."""
    base = nn.Linear(4, 4)
    for targets in ("all-linear", [""], ""):
        with unchanged(base), pytest.raises(ValueError) as error:
            wrap_ours(base, {"r": 2, "target_modules": targets})
        assert_says(error, "target_modules")


def test_a_sound_configuration_gives_no_warning(recwarn):
    wrap_ours(build("gpt2"), {"r": 2, "target_modules": ["c_attn"]})(TOKENS)
    wrap_ours(toy(), {"r": 2, "target_modules": "all-linear"})(TOKENS)
    assert not [str(warning.message) for warning in recwarn if "minipeft" in warning.filename]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("q_proj", ["q_proj"]),
        ("q_proj,v_proj", ["q_proj", "v_proj"]),
        ("q_proj v_proj", ["q_proj", "v_proj"]),
        ("[q_proj, v_proj]", ["q_proj", "v_proj"]),
        ("q_proj|v_proj", ["q_proj", "v_proj"]),
    ],
)
def test_names_in_one_string_are_answered_with_the_list_to_write(written, meant):
    model = nn.ModuleDict({"0": nn.ModuleDict({n: nn.Linear(4, 4) for n in ("q_proj", "v_proj")})})
    with pytest.raises(ValueError, match=re.escape(f"target_modules={meant}")):
        get_peft_model(model, LoraConfig(target_modules=written))


@pytest.mark.parametrize(
    ("config", "written", "called"),
    [
        (LoraConfig, "rank", "r"),
        (LoraConfig, "lora_r", "r"),
        (LoraConfig, "alpha", "lora_alpha"),
        (LoraConfig, "dropout", "lora_dropout"),
        (LoraConfig, "targets", "target_modules"),
        (AdaLoraConfig, "rank", "init_r"),
        (VeraConfig, "rank", "r"),
    ],
)
def test_another_name_for_an_option_is_answered_with_its_name_here(config, written, called):
    with pytest.raises(TypeError, match=f"no option '{written}'; it is called '{called}'"):
        config(**{written: 8})
