"""Counts of parameters: peft's, to the letter of the printed line, and of published models."""

import pytest
import torch
import transformers

from .models import FAMILIES
from .peers import twins, wrap_ours

CONFIGURATIONS = {
    "plain": {},
    "all-linear": {"target_modules": "all-linear"},
    "patterns": {"rank_pattern": {r".*\.1\..*": 5}},
    "biases of targets": {"bias": "lora_only"},
    "all biases": {"bias": "all"},
    "one layer": {"layers_to_transform": 0},
    "head saved": {"modules_to_save": ["head"]},
    "head saved and all biases": {"modules_to_save": ["head"], "bias": "all"},
}


@pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_same_counts_and_same_line_as_peft(family, options, capsys):
    """In "all params" peft counts a saved module twice: the base's and the trained copy."""
    if "modules_to_save" in options:
        options = options | {"modules_to_save": [FAMILIES[family].head]}
    pair = twins(family, {"r": 3, "target_modules": list(FAMILIES[family].targets)} | options)
    assert pair.ours.get_nb_trainable_parameters() == pair.theirs.get_nb_trainable_parameters()
    capsys.readouterr()
    pair.theirs.print_trainable_parameters()
    theirs = capsys.readouterr().out
    pair.ours.print_trainable_parameters()
    assert capsys.readouterr().out == theirs


def llama_7b() -> torch.nn.Module:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig())


def llama3_8b() -> torch.nn.Module:
    """Grouped queries: k_proj and v_proj have 1,024 outputs, not 4,096."""
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=128_256, intermediate_size=14_336, num_key_value_heads=8
        )
    )


def roberta_base() -> torch.nn.Module:
    return transformers.RobertaForSequenceClassification(
        transformers.RobertaConfig(
            vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1, num_labels=2
        )
    )


def vit_base() -> torch.nn.Module:
    return transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=101))


PUBLISHED = {
    "LLaMA-7B, q and v": (
        llama_7b,
        {"r": 8, "target_modules": ["q_proj", "v_proj"]},
        "trainable params: 4,194,304 || all params: 6,742,609,920 || trainable%: 0.0622",
    ),
    "Llama-3-8B, q and v": (
        llama3_8b,
        {"r": 8, "target_modules": ["q_proj", "v_proj"]},
        "trainable params: 3,407,872 || all params: 8,033,669,120 || trainable%: 0.0424",
    ),
    "RoBERTa-base, two labels": (
        roberta_base,
        {"r": 8, "target_modules": ["query", "value"], "task_type": "SEQ_CLS"},
        "trainable params: 887,042 || all params: 125,534,212 || trainable%: 0.7066",
    ),
    "ViT-B/16, 101 labels": (
        vit_base,
        {
            "r": 16,
            "target_modules": r".*\.(query|value|q_proj|v_proj)",
            "modules_to_save": ["classifier"],
        },
        "trainable params: 667,493 || all params: 86,543,818 || trainable%: 0.7713",
    ),
}


@pytest.mark.parametrize("published", PUBLISHED.values(), ids=PUBLISHED.keys())
def test_published_lines(published, capsys):
    """Lines that people printed on the real models; here with shapes only, on the meta device."""
    base, options, line = published
    with torch.device("meta"):
        model = wrap_ours(base(), options)
    model.print_trainable_parameters()
    assert capsys.readouterr().out.strip() == line
