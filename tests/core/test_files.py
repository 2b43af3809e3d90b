"""Saving and loading within minipeft: exact round trips, equal bytes, trainable only on request."""

import json

import pytest
import torch
from safetensors.torch import load_file

import minipeft
from tests.closeness import assert_close

from .models import TOKENS, build, logits, toy
from .peers import scramble, trained_by_us, wrap_ours

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
FULL = {
    "r": 3,
    "target_modules": ["first", "second"],
    "bias": "all",
    "modules_to_save": ["norm"],
    "rank_pattern": {"second": 2},
}


def trained_toy(options: dict = FULL, seed: int = 2) -> minipeft.PeftModel:
    torch.manual_seed(seed)
    model = wrap_ours(toy(), options)
    scramble(trained_by_us(model), seed)
    return model


def test_round_trip_is_exact(tmp_path):
    model = trained_toy()
    model.save_pretrained(tmp_path)
    again = minipeft.PeftModel.from_pretrained(toy(), tmp_path)
    assert torch.equal(again(TOKENS), model(TOKENS))
    again.save_pretrained(tmp_path / "again")
    for name in (WEIGHTS, CONFIG):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_saving_twice_gives_the_same_bytes(tmp_path):
    model = trained_toy(FULL | {"target_modules": ["second", "first"]})
    for folder in ("one", "two"):
        model.save_pretrained(tmp_path / folder)
    trained_toy().save_pretrained(tmp_path / "other order")
    for name in (WEIGHTS, CONFIG):
        one = (tmp_path / "one" / name).read_bytes()
        assert one == (tmp_path / "two" / name).read_bytes()
        if name == WEIGHTS:
            assert one == (tmp_path / "other order" / name).read_bytes()


def test_saving_over_an_old_adapter_replaces_it(tmp_path):
    trained_toy(seed=3).save_pretrained(tmp_path)
    model = trained_toy(seed=4)
    model.save_pretrained(tmp_path)
    again = minipeft.PeftModel.from_pretrained(toy(), tmp_path)
    assert torch.equal(again(TOKENS), model(TOKENS))
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".md") == [CONFIG, WEIGHTS]


def test_saving_changes_nothing_in_the_model(tmp_path):
    model = trained_toy()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    flags = {name: values.requires_grad for name, values in model.named_parameters()}
    model.save_pretrained(tmp_path)
    assert model.peft_config["default"].inference_mode is False
    assert flags == {name: values.requires_grad for name, values in model.named_parameters()}
    for name, values in model.state_dict().items():
        assert torch.equal(values, before[name])


@pytest.mark.parametrize("trainable", [False, True])
def test_loaded_adapters_are_frozen_unless_asked(tmp_path, trainable):
    trained_toy().save_pretrained(tmp_path)
    model = minipeft.PeftModel.from_pretrained(toy(), tmp_path, is_trainable=trainable)
    assert bool(trained_by_us(model)) == trainable
    model.load_adapter(tmp_path, "second", is_trainable=trainable)
    model.set_adapter("second")
    assert bool(trained_by_us(model)) == trainable


def test_loading_more_adapters_leaves_the_active_one_in_force(tmp_path):
    model = trained_toy()
    model.save_pretrained(tmp_path)
    expected = model(TOKENS)
    scramble(trained_by_us(model), seed=9)
    mine = model(TOKENS)
    model.load_adapter(tmp_path, "loaded")
    assert model.active_adapter == "default"
    assert torch.equal(model(TOKENS), mine)
    model.set_adapter("loaded")
    assert torch.equal(model(TOKENS), expected)


def test_a_merged_adapter_saves_the_adapter_and_not_the_merge(tmp_path):
    model = trained_toy()
    model.save_pretrained(tmp_path / "before")
    model.merge_adapter()
    model.save_pretrained(tmp_path / "merged")
    model.unmerge_adapter()
    for name in (WEIGHTS, CONFIG):
        before, merged = tmp_path / "before" / name, tmp_path / "merged" / name
        assert before.read_bytes() == merged.read_bytes()


def test_an_inactive_adapter_saves_its_own_values(tmp_path):
    model = trained_toy()
    model.save_pretrained(tmp_path / "alone")
    model.add_adapter("other", minipeft.LoraConfig(**FULL))
    model.set_adapter("other")
    scramble(trained_by_us(model), seed=8)
    model.save_pretrained(tmp_path / "both")
    with model.disable_adapter():
        model.save_pretrained(tmp_path / "disabled")
    alone = load_file(tmp_path / "alone" / WEIGHTS)
    for folder in ("both", "disabled"):
        saved = load_file(tmp_path / folder / WEIGHTS)
        assert sorted(saved) == sorted(alone)
        assert all(torch.equal(saved[name], alone[name]) for name in alone)


def test_no_alias_and_no_view_reaches_the_file(tmp_path):
    """safetensors refuses shared memory; a transposed or shared tensor must be copied first."""
    model = trained_toy()
    tuner = model.base_model.first.tuner
    tuner.lora_A.weight = torch.nn.Parameter(torch.randn(8, 3).T)  # a view with swapped strides
    model.base_model.second.tuner.lora_A.weight.data = torch.zeros(1, 1).expand(2, 16)
    model.save_pretrained(tmp_path)
    again = minipeft.PeftModel.from_pretrained(toy(), tmp_path)
    assert torch.equal(again.base_model.first.tuner.lora_A.weight, tuner.lora_A.weight)
    assert_close(again(TOKENS), model(TOKENS))


def test_the_folder_may_be_text_or_a_path_and_is_made(tmp_path):
    folder = tmp_path / "deep" / "in the tree é"
    trained_toy().save_pretrained(str(folder))
    minipeft.PeftModel.from_pretrained(toy(), str(folder))


def test_fields_of_a_newer_peft_are_passed_over_where_they_are_off(tmp_path):
    trained_toy().save_pretrained(tmp_path)
    fields = json.loads((tmp_path / CONFIG).read_text())
    fields |= {"invented_in_2030": None, "another_thing": False, "peft_version": "9.0"}
    (tmp_path / CONFIG).write_text(json.dumps(fields))
    minipeft.PeftModel.from_pretrained(toy(), tmp_path)


def test_the_name_of_the_base_is_noted(tmp_path):
    base = build("llama")
    base.name_or_path = base.config._name_or_path = "somebody/tiny-llama"
    model = wrap_ours(base, {"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"})
    model.save_pretrained(tmp_path)
    fields = json.loads((tmp_path / CONFIG).read_text())
    assert fields["base_model_name_or_path"] == "somebody/tiny-llama"
    assert fields["task_type"] == "CAUSAL_LM"
    assert fields["peft_type"] == "LORA"
    assert logits(model).isfinite().all()
