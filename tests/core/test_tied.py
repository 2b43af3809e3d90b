"""Tied embeddings: one tensor under two names. Nothing may untie them without a word."""

import peft
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

import minipeft
from tests.closeness import assert_close

from .models import HIDDEN, VOCABULARY, batch
from .peers import quiet, scramble, trained_by_us, wrap_ours
from .snapshots import assert_says, unchanged


def tied() -> nn.Module:
    """GPT-2 as it is published: lm_head reads the embedding's own weight."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(VOCABULARY, 32, HIDDEN, 2, 4, attn_implementation="eager")
        model = GPT2LMHeadModel(config).eval()
    assert model.lm_head.weight is model.transformer.wte.weight
    return model


def test_merging_a_tied_layer_is_refused():
    """W' in lm_head would change what the model reads as well, or give lm_head its own weight."""
    model = wrap_ours(tied(), {"r": 2, "target_modules": ["c_attn", "lm_head"]})
    scramble(trained_by_us(model))
    for merge in (model.merge_adapter, model.merge_and_unload):
        with unchanged(model), pytest.raises(ValueError) as error:
            merge()
        assert_says(error, "lm_head", "transformer.wte", "tie_word_embeddings")
    assert model.unload().lm_head.weight is model.transformer.wte.weight


def test_a_tied_layer_adapted_without_merging_equals_peft():
    options = {"r": 2, "target_modules": ["lm_head"]}
    ours = wrap_ours(tied(), options)
    with quiet():
        theirs = peft.get_peft_model(tied(), peft.LoraConfig(**options)).eval()
    scramble(trained_by_us(ours))
    mine, other = ours.base_model.lm_head.tuner, theirs.base_model.model.lm_head
    with torch.no_grad():
        other.lora_A["default"].weight.copy_(mine.lora_A.weight)
        other.lora_B["default"].weight.copy_(mine.lora_B.weight)
    assert_close(ours(**batch()).logits, theirs(**batch()).logits)


@pytest.mark.parametrize("name, other", [("lm_head", "transformer.wte"), ("wte", "lm_head")])
def test_training_one_of_two_tied_modules_is_refused(name, other):
    model = tied()
    config = minipeft.LoraConfig(target_modules=["c_attn"], modules_to_save=[name])
    with unchanged(model), pytest.raises(ValueError) as error:
        minipeft.get_peft_model(model, config)
    assert_says(error, name, other, "untie")


def test_both_are_trained_as_one():
    options = {"r": 2, "target_modules": ["c_attn"], "modules_to_save": ["wte", "lm_head"]}
    model = wrap_ours(tied(), options)
    base = model.base_model
    assert base.lm_head.weight is base.transformer.wte.weight
    trained, _ = model.get_nb_trainable_parameters()
    assert trained == sum(values.numel() for values in trained_by_us(model).values())
    released = model.merge_and_unload()
    assert released.lm_head.weight is released.transformer.wte.weight


def test_a_file_that_unties_them_opens(tmp_path):
    """peft trains a copy of lm_head alone; what such a file says is what we run."""
    options = {"r": 2, "target_modules": ["c_attn"], "modules_to_save": ["lm_head"]}
    with quiet():
        theirs = peft.get_peft_model(tied(), peft.LoraConfig(**options)).eval()
        scramble({n: v for n, v in theirs.named_parameters() if v.requires_grad})
        theirs.save_pretrained(tmp_path)
    ours = minipeft.PeftModel.from_pretrained(tied(), tmp_path)
    assert_close(ours(**batch()).logits, theirs(**batch()).logits)
