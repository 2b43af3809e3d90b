"""(IA)^3 (Liu et al. 2022, section 3.3) is peft's: numbers, merges, files, and which layers."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

import minipeft
from tests.closeness import assert_all_close, assert_close

from .exchange import CONFIG, WEIGHTS, open_in_peft
from .models import FAMILIES, build, logits, toy
from .peers import (
    assert_same_model,
    our_targets,
    quiet,
    raises_in_peft,
    scramble,
    trained_by_us,
    twins,
    wrap_ours,
    wrap_theirs,
)
from .snapshots import assert_says, unchanged

FED = {"llama": "down_proj", "gpt2": "mlp.c_proj", "bert": "output.dense"}


def options_for(family: str, case: str) -> dict:
    targets, fed = list(FAMILIES[family].targets), FED[family]
    if fed not in targets:
        targets = [*targets, fed]
    cases = {
        "the family's": {},
        "the paper's": {"target_modules": targets[1:3] + [fed], "feedforward_modules": [fed]},
        "outputs alone": {"target_modules": targets, "feedforward_modules": []},
        "inputs alone": {"target_modules": [fed], "feedforward_modules": [fed]},
        "the family's inputs": {"target_modules": targets},
        "regex": {
            "target_modules": FAMILIES[family].regex,
            "feedforward_modules": r".*(v_proj|c_proj|dense)",
        },
        "all-linear": {"target_modules": "all-linear", "feedforward_modules": [fed]},
        "all-linear, unsaid": {"target_modules": "all-linear"},
        "excluded": {"exclude_modules": [targets[1]]},
        "head saved": {"modules_to_save": [FAMILIES[family].head]},
        "random start": {"init_ia3_weights": False},
    }
    return cases[case]


CASES = [
    *("the family's", "the paper's", "outputs alone", "inputs alone", "the family's inputs"),
    *("regex", "all-linear", "all-linear, unsaid", "excluded", "head saved", "random start"),
]


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_peft_s(family, case):
    pair = twins(family, options_for(family, case), config="IA3Config")
    assert_same_model(pair)
    assert pair.ours.get_nb_trainable_parameters() == pair.theirs.get_nb_trainable_parameters()


def families_of_peft() -> dict:
    """Tiny models of two families whose defaults peft has and the other tests have no model of."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 20}
    return {
        "mistral": MistralForCausalLM(MistralConfig(**sizes)),
        "qwen2": Qwen2ForCausalLM(Qwen2Config(**sizes)),
    }


@pytest.mark.parametrize("name", ["mistral", "qwen2"])
def test_the_layers_of_other_families_are_peft_s(name):
    theirs = wrap_theirs(families_of_peft()[name], {}, config="IA3Config")
    ours = wrap_ours(families_of_peft()[name], {}, config="IA3Config")
    assert our_targets(ours) == set(theirs.base_model.targeted_module_names)
    mine, other = ours.peft_config["default"], theirs.peft_config["default"]
    assert set(mine.target_modules) == other.target_modules
    assert set(mine.feedforward_modules) == other.feedforward_modules


def test_the_start_is_the_base_in_16_bits_too(family):
    base = build(family, torch.bfloat16)
    bare = logits(base)
    model = wrap_ours(base, {}, config="IA3Config")
    assert {values.dtype for values in trained_by_us(model).values()} == {torch.float32}
    assert torch.equal(logits(model), bare)


@pytest.mark.parametrize("setting", ["bfloat16 base", "autocast"])
def test_16_bits_are_peft_s(family, setting):
    dtype = torch.bfloat16 if setting == "bfloat16 base" else torch.float32
    pair = twins(family, options_for(family, "the paper's"), dtype, config="IA3Config")
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=setting == "autocast"):
        assert_close(*pair.answers(), setting, rtol=0.0)


def test_the_count_is_one_number_for_each_output_or_input(family):
    model = wrap_ours(build(family), {}, config="IA3Config")
    expected = 0
    for path, layer in model.adapters["default"].layers.items():
        by_output = layer.weight.shape[1 if family == "gpt2" else 0]
        by_input = layer.weight.shape[0 if family == "gpt2" else 1]
        expected += by_input if path.endswith(FED[family]) else by_output
    assert model.get_nb_trainable_parameters()[0] == expected


@pytest.mark.parametrize("case", ["the paper's", "outputs alone", "inputs alone", "regex"])
def test_merging_is_peft_s(family, case):
    """W' and, where outputs are scaled, b' (peft/tuners/ia3/layer.py, `Linear.merge`)."""
    pair = twins(family, options_for(family, case), config="IA3Config")
    answer, before = logits(pair.ours), pair.ours.state_dict()
    before = {name: values.clone() for name, values in before.items()}
    pair.ours.merge_adapter()
    assert_close(logits(pair.ours), answer, "merged")
    pair.ours.unmerge_adapter()  # exactly, where peft divides: "can be inaccurate", it warns
    assert all(torch.equal(values, before[n]) for n, values in pair.ours.state_dict().items())
    ours, theirs = pair.ours.merge_and_unload(), pair.theirs.merge_and_unload()
    assert_all_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize(
    ("case", "adapter"), [*((case, "default") for case in CASES), ("head saved", "mine")]
)
def test_folders_go_both_ways(family, case, adapter, tmp_path):
    pair = twins(family, options_for(family, case), torch.float32, adapter, config="IA3Config")
    pair.ours.save_pretrained(tmp_path / "ours")
    pair.theirs.save_pretrained(tmp_path / "theirs")
    below = "" if adapter == "default" else adapter
    ours, theirs = tmp_path / "ours" / below, tmp_path / "theirs" / below
    assert_close(logits(open_in_peft(build(family), ours)), logits(pair.ours), "in peft")
    mine, other = load_file(ours / WEIGHTS), load_file(theirs / WEIGHTS)
    assert sorted(mine) == sorted(other)
    assert all(torch.equal(values, other[name]) for name, values in mine.items())
    unknown = json.loads((ours / CONFIG).read_text()).keys() - peft.IA3Config().to_dict().keys()
    assert not unknown
    opened = minipeft.PeftModel.from_pretrained(build(family), theirs)
    assert_close(logits(opened), logits(pair.theirs), "here")


def test_what_peft_cannot_open_again_opens_from_our_folder(tmp_path):
    """Its feedforward_modules is no subset of its target_modules, for nobody wrote it.

    peft fills it in by the family (peft/tuners/ia3/model.py, `_prepare_adapter_config`) and checks
    the subset only when it reads the file. We write both out by whole names.
    """
    options = {"target_modules": ["dense"]}
    pair = twins("bert", options, torch.float32, config="IA3Config")
    pair.theirs.save_pretrained(tmp_path / "theirs")
    assert raises_in_peft(lambda: open_in_peft(build("bert"), tmp_path / "theirs"))
    opened = minipeft.PeftModel.from_pretrained(build("bert"), tmp_path / "theirs")
    assert_close(logits(opened), logits(pair.theirs), "theirs here")
    pair.ours.save_pretrained(tmp_path / "ours")
    opened = open_in_peft(build("bert"), tmp_path / "ours")
    assert_close(logits(opened), logits(pair.theirs), "ours in peft")


def test_16_bit_tensors_of_a_file_are_widened(tmp_path):
    pair = twins("gpt2", {}, torch.float32, config="IA3Config")
    pair.theirs.save_pretrained(tmp_path)
    narrow = {name: t.bfloat16() for name, t in load_file(tmp_path / WEIGHTS).items()}
    save_file(narrow, tmp_path / WEIGHTS, metadata={"format": "pt"})
    theirs = open_in_peft(build("gpt2"), tmp_path)
    ours = minipeft.PeftModel.from_pretrained(build("gpt2"), tmp_path, is_trainable=True)
    assert {values.dtype for values in trained_by_us(ours).values()} == {torch.float32}
    assert_close(logits(ours), logits(theirs), "bf16 file")


def test_a_classifier_takes_its_head_along(tmp_path):
    pair = twins("bert", {"task_type": "SEQ_CLS"}, torch.float32, config="IA3Config")
    assert "classifier.weight" in trained_by_us(pair.ours)
    pair.ours.save_pretrained(tmp_path)
    assert_close(logits(open_in_peft(build("bert"), tmp_path)), logits(pair.ours), "peft")


NOT_A_PART = {
    "no target": (["k_proj", "v_proj"], ["down_proj"], ("down_proj", "k_proj")),
    "misspelled": (["v_proj", "down_proj"], ["down_porj"], ("down_porj", "'down_proj'")),
    "beside a regex": (r".*\.(v|down)_proj", ["down_porj"], ("down_porj", "down_proj")),
    "a regex of its own": (["v_proj", "down_proj"], r".*down_porj", (".*down_porj", "down_proj")),
    "a broken regex": (["v_proj"], "*down_proj", ("*down_proj", "regular expression")),
    "a number": (["v_proj"], 7, ("7", "list")),
}


@pytest.mark.parametrize(("targets", "fed", "words"), NOT_A_PART.values(), ids=NOT_A_PART.keys())
def test_feedforward_modules_must_be_among_the_targets(targets, fed, words):
    base = build("llama")
    options = {"target_modules": targets, "feedforward_modules": fed}
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, options, config="IA3Config")
    assert_says(error, "feedforward_modules", *words)
    if fed == ["down_proj"]:  # as in peft, before a model is seen
        for library in (minipeft, peft):
            with pytest.raises(ValueError):
                library.IA3Config(**options)


@pytest.mark.parametrize(
    ("options", "named"),
    [({}, "target_modules"), ({"target_modules": ["first"]}, "feedforward_modules")],
)
def test_a_family_that_is_not_known_must_be_told(options, named):
    with quiet(), pytest.raises((ValueError, KeyError, AttributeError)):
        peft.get_peft_model(toy(), peft.IA3Config(**options))
    base = toy()
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, options, config="IA3Config")
    assert_says(error, f"{named}=None", "Toy", "llama")
    told = {"target_modules": ["first"], "feedforward_modules": []}
    scramble(trained_by_us(wrap_ours(base, told, config="IA3Config")))


@pytest.mark.parametrize("option", ["bias", "layers_to_transform", "layers_pattern", "r"])
def test_options_of_other_methods_are_none_of_this_one(option):
    for library in (minipeft, peft):
        with pytest.raises(TypeError, match=option):
            library.IA3Config(**{option: "all"})


@pytest.mark.parametrize("value", ["gaussian", 1, None])
def test_the_start_is_ones_or_random(value):
    with pytest.raises(ValueError, match=r"init_ia3_weights=.*True, False"):
        minipeft.IA3Config(init_ia3_weights=value)
