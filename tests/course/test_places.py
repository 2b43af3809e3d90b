"""Lesson 08's map: where a method touches a block, against shapes that nobody here wrote."""

import peft
import pytest
import torch
import transformers

from minipeft.course.lab.pictures import lesson_08 as pictures
from minipeft.course.lessons.places import METHODS, MODELS, OUTSIDE, touched

CONFIG = {
    "the course's base": {
        "vocab_size": 1024, "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 32,
    },
    "llama-7b": {},  # transformers' defaults
    "llama-3-8b": {
        "vocab_size": 128256, "intermediate_size": 14336, "num_key_value_heads": 8,
    },
}  # fmt: skip


def in_transformers(model):
    with torch.device("meta"):
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG[model]))


@pytest.mark.parametrize("model", MODELS)
def test_the_places_of_ia3_are_pefts(model):
    with torch.device("meta"):
        theirs = peft.get_peft_model(in_transformers(model), peft.IA3Config())
    found = touched("(IA)³", model)
    named = {n: p.numel() for n, p in theirs.named_parameters() if p.requires_grad}
    assert found.total == sum(named.values())
    first = {n.split(".")[-3][:-5]: size for n, size in named.items() if "layers.0." in n}
    assert found.places == first
    assert found.blocks == theirs.config.num_hidden_layers


@pytest.mark.parametrize("model", MODELS)
def test_full_fine_tuning_touches_every_number_once(model):
    found = touched("full fine-tuning", model)
    theirs = in_transformers(model)
    tied = model == MODELS[0]  # one matrix for both, which is named once
    every = sum(p.numel() for p in theirs.parameters())
    assert found.total == every - tied * theirs.lm_head.weight.numel()
    inside = sum(n for place, n in found.places.items() if place not in OUTSIDE)
    outside = sum(n for place, n in found.places.items() if place in OUTSIDE)
    assert inside * found.blocks + outside == found.total


@pytest.mark.parametrize("method", METHODS)
def test_the_places_add_up(method):
    for model in MODELS:
        found = touched(method, model)
        inside = sum(n for place, n in found.places.items() if place not in OUTSIDE)
        outside = sum(n for place, n in found.places.items() if place in OUTSIDE)
        assert inside * found.blocks + outside == found.total > 0


def test_what_touches_no_block():
    for method in ("head", "prompt tuning", "P-tuning"):
        assert touched(method, "llama-7b").blocks == 0
    assert touched("last block", "llama-7b").blocks == 1
    assert touched("prefix tuning", "llama-7b").places == {"k": 20 * 4096, "v": 20 * 4096}


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="DoRA"):
        touched("dora", "llama-7b")
    with pytest.raises(ValueError, match="llama-7b"):
        touched("DoRA", "llama-7")


@pytest.mark.parametrize("method", METHODS)
def test_the_picture_names_every_place(method):
    _, alt, data = pictures.block_picture(method, "llama-3-8b")
    found = touched(method, "llama-3-8b")
    assert data == {"trained": found.total, **found.places}
    assert all(f"{place} {count:,}" in alt for place, count in found.places.items())
