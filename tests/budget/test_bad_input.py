"""One clear error for each way in which a model, a config or a recipe can be wrong."""

import json

import pytest
from torch import nn

import minipeft
from minipeft.budget import ARCHITECTURES, Architecture, count_parameters, memory_budget

from .families import CONFIGS, config

SIZES = {
    "vocab_size": 11,
    "hidden_size": 8,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
LORA = minipeft.LoraConfig(r=2, target_modules=["q_proj"])


@pytest.mark.parametrize(
    ("name", "hint"),
    [("lama-7b", "llama-7b"), ("bert_base", "bert-base"), ("gpt-5", "gpt2"), ("", "choose from")],
)
def test_unknown_models(name, hint):
    with pytest.raises(ValueError, match=rf"model '{name}' is not known; .*{hint}"):
        count_parameters(name, LORA)
    with pytest.raises(ValueError, match=rf"model '{name}' is not known"):
        memory_budget(name)
    with pytest.raises(ValueError, match="is not known"):
        ARCHITECTURES[name]


def test_names_are_read_kindly():
    assert ARCHITECTURES["LLaMA 7B"] is ARCHITECTURES["llama-7b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "lama"}, "model_type='lama' is not known; nearest: 'llama'"),
        ({"model_type": None}, "model_type=None is not known; choose from"),
        ({"hiden_size": 8, "hidden_size": None}, "hiden_size=8 is not known; nearest: 'hidden"),
        ({"num_key_value_head": 1}, "num_key_value_head=1 is not known; nearest: 'num_key_val"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"hidden_size": "8"}, "hidden_size='8' must be a whole number; the smallest is 1"),
        ({"hidden_size": 0}, "hidden_size=0 must be a whole number; the smallest is 1"),
        ({"hidden_size": 2.5}, "hidden_size=2.5 must be a whole number"),
        ({"vocab_size": True}, "vocab_size=True must be a whole number"),
        ({"hidden_size": 9}, "hidden_size=9 can't be divided by 2; nearest: 8"),
        ({"num_key_value_heads": 3}, "num_attention_heads=2 can't be divided by 3"),
        ({"attention_bias": "yes"}, "attention_bias='yes' must be a bool"),
        ({"architectures": ["LlamaForDreaming"]}, "architectures='LlamaForDreaming' is not kno"),
        ({"architectures": ["LlamaForQuestionAnswering"]}, "head='QUESTION_ANS' is not built for"),
    ],
)
def test_wrong_fields(change, message):
    fields = {"model_type": "llama", **SIZES} | change
    with pytest.raises(ValueError, match=message):
        Architecture.from_config(fields)
    with pytest.raises(ValueError, match=message):
        count_parameters(fields, LORA)


def test_wrong_keywords():
    with pytest.raises(ValueError, match="hidden=8 is no size of 'decoder'; nearest: 'hidden_siz"):
        Architecture("decoder", **SIZES, hidden=8)
    with pytest.raises(ValueError, match="model_type='decodr' is not known; nearest: 'decoder'"):
        Architecture("decodr", **SIZES)
    with pytest.raises(ValueError, match=r"head='SEQ_CLASS' is not built .*'SEQ_CLS"):
        Architecture("encoder", head="SEQ_CLASS", **SIZES)
    with pytest.raises(ValueError, match="image_size=9 can't be divided by 4"):
        sizes = {name: size for name, size in SIZES.items() if name != "vocab_size"}
        Architecture("vit", image_size=9, patch_size=4, **sizes)
    with pytest.raises(ValueError, match="num_labels=-1 must be a whole number; the smallest is 0"):
        Architecture("encoder", num_labels=-1, **SIZES)


@pytest.mark.parametrize("family", CONFIGS)
def test_no_field_of_a_real_config_is_taken_for_a_misspelt_one(family):
    fields = config(family, 0).to_dict()
    assert Architecture.from_config(fields).total > 0


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, FileNotFoundError, "config.json"),
        ("{broken", ValueError, "is not JSON"),
        ("[1, 2]", ValueError, "JSON object"),
        ("{}", ValueError, "model_type=None is not known"),
    ],
)
def test_wrong_files(tmp_path, text, error, message):
    file = tmp_path / "config.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=message):
        Architecture.from_config(file)
    with pytest.raises(error, match=message):
        count_parameters(str(file), LORA)


def test_a_file_and_its_folder_are_read(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "llama", **SIZES}), encoding="utf-8")
    by_keyword = Architecture("decoder", **SIZES).total
    for place in (file, tmp_path, str(file), str(tmp_path)):
        assert count_parameters(place).total == by_keyword


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (minipeft.LoraConfig(target_modules=["q_porj"]), "q_porj.* nearest: 'q_proj'"),
        (minipeft.LoraConfig(target_modules=["c_attn", "q_proj"]), "choose one kind for all"),
        (minipeft.LoraConfig(target_modules=["gate_proj"]), "gate_proj.* nearest"),
        (minipeft.LoraConfig(r=5000, target_modules=["q_proj"]), "r=5000 is larger than"),
        (minipeft.LoraConfig(target_modules=["q_proj"], modules_to_save=["haed"]), "haed"),
        (minipeft.PartialConfig(last_layers=99), "last_layers=99"),
        (minipeft.PromptTuningConfig(num_virtual_tokens=3, token_dim=7), "token_dim=7 doesn't fit"),
    ],
)
def test_configs_that_do_not_fit(given, message):
    for calculate in (count_parameters, memory_budget):
        with pytest.raises(ValueError, match=message):
            calculate("gpt2", given)


@pytest.mark.parametrize("given", ["lora", 8, {"r": 8}, minipeft.LoraConfig])
def test_what_is_no_config(given):
    with pytest.raises((TypeError, ValueError), match="config"):
        count_parameters("gpt2", given)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"batch": 0}, "batch=0"),
        ({"length": "512"}, "length='512'"),
        ({"target_length": -1}, "target_length=-1"),
        ({"optimizer": "adam"}, "optimizer='adam' is not known; choose from 'adamw'"),
        ({"quantization": "nf5"}, "quantization='nf5' is not known"),
        ({"quantization": "nf4"}, "quantization='nf4' freezes the weights"),
        ({"dtype": "fp16"}, "dtype='fp16' is not known; choose from .*'float16'"),
        ({"state_dtype": None}, "state_dtype=None is not known"),
        ({"attention": "none"}, "attention='none'"),
        ({"checkpointing": 1}, "checkpointing=1"),
        ({"skip": "lm_head"}, "skip='lm_head'"),
    ],
)
def test_wrong_recipes(recipe, message):
    with pytest.raises(ValueError, match=message):
        memory_budget("gpt2", **recipe)


def test_an_unknown_option_of_a_recipe():
    with pytest.raises(TypeError, match="batch_size"):
        memory_budget("gpt2", batch_size=3)


def test_a_model_of_no_known_family_can_be_counted_but_not_budgeted():
    model = nn.Sequential(nn.Linear(3, 4))
    assert count_parameters(model).trainable == 16
    with pytest.raises(ValueError, match=r"Sequential has no config .* give an Architecture"):
        memory_budget(model)


def test_a_soft_prompt_needs_a_model_with_sizes():
    with pytest.raises(ValueError, match="a soft prompt needs a model with config"):
        count_parameters(nn.Linear(3, 4), minipeft.PromptTuningConfig(num_virtual_tokens=3))


def test_nothing_in_the_model_changes():
    from minipeft.course.base import load_base

    model = load_base()[0]
    before = {name: (id(p), p.requires_grad) for name, p in model.named_parameters()}
    modules = [id(module) for module in model.modules()]
    memory_budget(model, minipeft.LoraConfig(target_modules="all-linear"))
    count_parameters(model, minipeft.PromptTuningConfig(num_virtual_tokens=3))
    assert {name: (id(p), p.requires_grad) for name, p in model.named_parameters()} == before
    assert [id(module) for module in model.modules()] == modules
