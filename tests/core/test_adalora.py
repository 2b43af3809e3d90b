"""AdaLoRA (Zhang et al. 2023) beside peft: outputs, gradients, merging, counts, files, errors."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import minipeft
from minipeft.core.linear import shape_of
from tests.closeness import assert_all_close, assert_close

from .exchange import CONFIG, WEIGHTS, open_in_peft
from .models import FAMILIES, build, logits, toy
from .peers import Twins, assert_same_model, copy_values, quiet, scramble, wrap_ours
from .snapshots import assert_says, unchanged
from .test_adalora_training import ada_twins, labelled, ranks

OPTIONS = {
    "plain": {},
    "biases of targets": {"bias": "lora_only"},
    "some layers": {"bias": "all", "layers_to_transform": [0, 2]},
    "other start": {"lora_dropout": 0.1, "init_lora_weights": False, "lora_alpha": 0.5},
    "all-linear": {"target_modules": "all-linear"},
}


def scrambled(pair: Twins) -> Twins:
    ours, theirs = pair.trained()
    scramble(theirs)
    copy_values(theirs, ours)
    return pair


def pruned(family: str, options: dict | None = None, adapter: str = "default") -> Twins:
    """Twins whose last allocation has left one triplet per layer on average: none in some."""
    short = {"target_r": 1, "tinit": 0, "total_step": 3, "tfinal": 0}
    pair = scrambled(ada_twins(family, short | (options or {}), adapter=adapter))
    for step in (1, 2, 3):
        for model, called in ((pair.ours, pair.ours), (pair.theirs, pair.theirs.base_model)):
            model.zero_grad()
            called(**labelled(family, step)).loss.backward()  # with the penalty, see train_both
            model.update_and_allocate(step)
    assert {0, 1, 2} <= set(ranks(pair.ours))
    return pair


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_outputs_and_gradients_are_peft_s(family, options):
    assert_same_model(scrambled(ada_twins(family, options)))


def test_merging_is_peft_s_merge(family):
    pair = pruned(family)
    for tuner in pair.ours.adapters["default"].tuners.values():
        A, B = tuner.factors()  # (r, in), (out, r)
        weight = torch.randn(len(B), A.shape[1], dtype=A.dtype)
        assert_close(weight + B @ A, tuner.merged(weight), "factors")
    theirs = pair.theirs.merge_and_unload().state_dict()
    assert_all_close(pair.ours.merge_and_unload().state_dict(), theirs)


def test_count_is_the_closed_form_and_peft_s(family):
    """In "all params" peft also counts its rank number, one for each layer."""
    pair = ada_twins(family, {"init_r": 4})
    layers = pair.ours.adapters["default"].layers
    trained, total = pair.ours.get_nb_trainable_parameters()
    assert trained == sum(4 * (sum(shape_of(layer.base_layer)) + 1) for layer in layers.values())
    assert (trained, total + len(layers)) == pair.theirs.get_nb_trainable_parameters()


def held_by(folder: Path) -> tuple[dict[str, Tensor], dict[str, list[bool]]]:
    """What a folder's two files say; less what peft writes and never reads (exchange of LoRA)."""
    tensors = load_file(folder / WEIGHTS)
    unread = (".original_module.", ".modules_to_save.")
    tensors = {name: t for name, t in tensors.items() if not any(part in name for part in unread)}
    return tensors, json.loads((folder / CONFIG).read_text())["rank_pattern"]


@pytest.mark.parametrize("case", ["plain", "all biases", "head saved", "named"])
def test_pruned_files_go_both_ways(family, case, tmp_path):
    adapter = "voice" if case == "named" else "default"
    head = {"modules_to_save": [FAMILIES[family].head]}
    options = {"all biases": {"bias": "all"}, "head saved": head}.get(case, {})
    pair = pruned(family, options, adapter)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    pair.ours.save_pretrained(ours)
    with quiet():  # it warns of the empty tensors of a layer of rank 0
        pair.theirs.save_pretrained(theirs)
    if case == "named":
        ours, theirs = ours / adapter, theirs / adapter
    tensors, pattern = held_by(theirs)
    opened = minipeft.PeftModel.from_pretrained(build(family, torch.float64), theirs)
    opened.save_pretrained(tmp_path / "again")
    for folder in (ours, tmp_path / "again"):
        torch.testing.assert_close(held_by(folder)[0], tensors, rtol=0, atol=0)
        assert held_by(folder)[1] == pattern
    assert_close(logits(opened), logits(pair.theirs), "opened here")
    in_peft = open_in_peft(build(family, torch.float64), ours)
    assert_close(logits(in_peft), logits(pair.ours), "opened in peft")
    assert ranks(opened) == ranks(pair.ours)


def test_a_file_in_bf16_opens_in_32_bits(tmp_path):
    pruned("llama").ours.save_pretrained(tmp_path)
    tensors = {name: values.bfloat16() for name, values in load_file(tmp_path / WEIGHTS).items()}
    save_file(tensors, tmp_path / WEIGHTS)
    opened = minipeft.PeftModel.from_pretrained(build("llama"), tmp_path)
    assert {p.dtype for _, p in opened.adapters["default"].named_parameters()} == {torch.float32}
    in_peft = open_in_peft(build("llama"), tmp_path)
    assert_close(logits(opened), logits(in_peft), "opened in peft")


BAD = [
    ({"total_step": None}, ["total_step=None", "whole number", "smallest is 1"]),
    ({"total_step": 0}, ["total_step=0", "smallest is 1"]),
    ({"init_r": 0}, ["init_r=0", "smallest is 1"]),
    ({"target_r": 2.0}, ["target_r=2.0", "whole number"]),
    ({"target_r": 5}, ["target_r=5", "init_r=4", "largest target_r is 4"]),
    ({"tinit": -1}, ["tinit=-1", "smallest is 0"]),
    ({"tinit": 7, "tfinal": 3}, ["tinit=7", "below total_step - tfinal = 10 - 3"]),
    ({"deltaT": 0}, ["deltaT=0", "smallest is 1"]),
    ({"beta1": 1}, ["beta1=1", "(0, 1)", "0.85"]),
    ({"beta2": "0.9"}, ["beta2='0.9'", "finite number"]),
    ({"orth_reg_weight": -0.5}, ["orth_reg_weight=-0.5", "below 0"]),
    ({"lora_alpha": 0}, ["lora_alpha=0", "above 0"]),
    ({"lora_dropout": 1.0}, ["lora_dropout=1.0", "[0, 1)"]),
    ({"init_lora_weights": "pissa"}, ["init_lora_weights='pissa'", "True, False"]),
    ({"rank_pattern": [1]}, ["rank_pattern=[1]", ".lora_E"]),
    (
        {"rank_pattern": {"first.lora_E": [True, 0, 1, 1]}},
        ["rank_pattern['first.lora_E']", "4 bools"],
    ),
    ({"rank_pattern": {"first.lora_E": [True]}}, ["rank_pattern['first.lora_E']", "init_r"]),
    ({"rank_pattern": {"first.lora_E": [True] * 4}}, ["rank_pattern", "leave it out"]),
    ({"bias": "vera_only"}, ["bias='vera_only'", "lora_only"]),
    ({"target_modules": ["frist"]}, ["frist", "'first'"]),
]


@pytest.mark.parametrize(("options", "words"), BAD, ids=lambda value: str(value)[:40])
def test_bad_options_change_nothing(options, words):
    base = toy()
    good = {"target_modules": ["first"], "init_r": 4, "target_r": 2, "total_step": 10}
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, good | options, config="AdaLoraConfig")
    assert_says(error, *words)


def test_unknown_options_and_the_unused_rank():
    with pytest.raises(TypeError) as error:
        minipeft.AdaLoraConfig(target_rank=4, total_step=9)
    assert_says(error, "target_rank", "target_r")
    options = {"target_modules": ["first"], "target_r": 2, "init_r": 3, "total_step": 9, "r": 4}
    with pytest.warns(UserWarning, match="r=4.*init_r"):
        wrap_ours(toy(), options, config="AdaLoraConfig")


def test_files_that_contradict_themselves_are_refused(tmp_path):
    pruned("llama").ours.save_pretrained(tmp_path)
    fields = json.loads((tmp_path / CONFIG).read_text())
    name = next(name for name, kept in fields["rank_pattern"].items() if sum(kept) == 1)
    fields["rank_pattern"][name] = [True] * 5
    (tmp_path / CONFIG).write_text(json.dumps(fields))
    base = build("llama")
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.PeftModel.from_pretrained(base, tmp_path)
    assert_says(error, name.removesuffix("_E"), "(1, ", "(5, ")
