"""Counts against the real models of transformers with Hugging Face peft, on the meta device."""

import random
import warnings

import peft
import pytest
import torch
import transformers
from torch import nn

import minipeft
from minipeft.budget import count_parameters
from minipeft.core.linear import is_linear

from .families import CONFIGS, HEADS, SEEDS, config, model


def some_targets(real: nn.Module, pick: random.Random) -> list[str]:
    """A few of the last names that the layers' matrices have."""
    inside = [path for path, layer in real.named_modules() if is_linear(layer)]
    names = {path.rpartition(".")[2] for path in inside if ".0." in path}
    return pick.sample(sorted(names), pick.randint(1, len(names)))


def some_rank(real: nn.Module, pick: random.Random) -> int:
    """One that no matrix is too small for."""
    sides = [side for layer in real.modules() if is_linear(layer) for side in layer.weight.shape]
    return pick.randint(1, min(4, *sides))


def lora(real: nn.Module, pick: random.Random) -> dict:
    options = {"r": some_rank(real, pick), "target_modules": some_targets(real, pick)}
    options["bias"] = pick.choice(["none", "lora_only", "all"])
    if pick.random() < 0.5:
        options["rank_pattern"] = {options["target_modules"][0]: 1}
    if pick.random() < 0.5:
        options["layers_to_transform"] = [0]
    return options


def dora(real: nn.Module, pick: random.Random) -> dict:
    return lora(real, pick) | {"use_dora": True}


def everywhere(real: nn.Module, pick: random.Random) -> dict:
    return {"r": some_rank(real, pick), "target_modules": "all-linear"}


def adalora(real: nn.Module, pick: random.Random) -> dict:
    ranks = {"init_r": some_rank(real, pick), "target_r": 1, "tinit": 1, "tfinal": 1}
    return ranks | {"total_step": 10, "target_modules": some_targets(real, pick)}


def vera(real: nn.Module, pick: random.Random) -> dict:
    return {"r": pick.randint(1, 9), "target_modules": some_targets(real, pick)}


def ia3(real: nn.Module, pick: random.Random) -> dict:
    targets = some_targets(real, pick)
    return {"target_modules": targets, "feedforward_modules": targets[:1]}


def prompt(real: nn.Module, pick: random.Random) -> dict:
    return {"num_virtual_tokens": pick.randint(1, 9)}


def prefix(real: nn.Module, pick: random.Random) -> dict:
    mlp = {"prefix_projection": pick.random() < 0.5, "encoder_hidden_size": pick.randint(1, 9)}
    return prompt(real, pick) | mlp


def p_tuning(real: nn.Module, pick: random.Random) -> dict:
    kind = pick.choice(["MLP", "LSTM"])
    hidden = pick.choice([None, 5])
    encoder = {"encoder_reparameterization_type": kind, "encoder_hidden_size": hidden}
    return prompt(real, pick) | encoder


METHODS = {
    "LoRA": (lora, minipeft.LoraConfig, peft.LoraConfig),
    "DoRA": (dora, minipeft.LoraConfig, peft.LoraConfig),
    "LoRA everywhere": (everywhere, minipeft.LoraConfig, peft.LoraConfig),
    "AdaLoRA": (adalora, minipeft.AdaLoraConfig, peft.AdaLoraConfig),
    "VeRA": (vera, minipeft.VeraConfig, peft.VeraConfig),
    "IA3": (ia3, minipeft.IA3Config, peft.IA3Config),
    "prompt": (prompt, minipeft.PromptTuningConfig, peft.PromptTuningConfig),
    "prefix": (prefix, minipeft.PrefixTuningConfig, peft.PrefixTuningConfig),
    "P-tuning": (p_tuning, minipeft.PromptEncoderConfig, peft.PromptEncoderConfig),
}


PROMPTS = ("prompt", "prefix", "P-tuning")


def counted_by_peft(real: nn.Module, config: peft.PeftConfig) -> tuple[int, int]:
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        return peft.get_peft_model(real, config).get_nb_trainable_parameters()


def agree(family: str, seed: int, method: str, head: int = 0) -> None:
    """The same number from the shape and from the real thing, with this head of the family."""
    options, ours, theirs = METHODS[method]
    shape = config(family, seed)
    if method == "prefix" and family.endswith("t5"):  # see the last test
        shape.num_heads, shape.d_kv = 2, shape.d_model // 2
    auto, task = HEADS[family][head]
    real = model(shape, auto)
    pick = random.Random(f"{method} {family} {seed}")
    fields = shape.to_dict() | {"architectures": [type(real).__name__]}
    known = task in peft.TaskType.__members__ and (head or method in PROMPTS)
    given = options(real, pick) | {"task_type": task if known else None}
    count = count_parameters(fields, ours(**given))
    trained, total = counted_by_peft(real, theirs(**given))
    assert count.trainable == trained, given
    if method == "AdaLoRA":  # peft counts each layer's current rank as one more parameter
        total -= sum(1 for path in count.by_module if not path.endswith(("classifier", "score")))
    assert count.total == total, given


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", CONFIGS)
def test_as_many_as_peft_trains(family, method):
    """A dozen shapes with LoRA; two of them with each other method, to save time."""
    if family == "vit" and method in PROMPTS:
        pytest.skip("peft has no soft prompts for pictures")
    start = list(METHODS).index(method) % 6
    for seed in SEEDS if method == "LoRA" else SEEDS[start::6]:
        agree(family, seed, method)


@pytest.mark.parametrize("method", ["LoRA", "VeRA", "prompt"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "roberta", "deberta-v2"])
def test_a_classifier_is_trained_and_counted_twice(family, method):
    for seed in SEEDS[:2]:
        agree(family, seed, method, head=1)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_all_linear_leaves_the_output_of_a_masked_language_model(family):
    assert HEADS[family][4][1] == "MASKED_LM"
    agree(family, 0, "LoRA everywhere", head=4)


@pytest.mark.parametrize("family", ["gpt2", "bert", "roberta", "deberta-v2", "vit", "whisper"])
def test_canonical_names_are_one_matrix_each(family):
    """GPT-2's fused matrix is three here; its own name counts as peft does, with one A for all."""
    for seed in SEEDS:
        shape = config(family, seed)
        d = shape.hidden_size
        attentions = shape.num_hidden_layers
        if family == "whisper":  # the decoder's layers also attend to the encoder
            attentions += 2 * shape.decoder_layers
        names = ["q_proj", "k_proj", "v_proj", "o_proj"]
        lora = minipeft.LoraConfig(r=1, target_modules=names)
        assert count_parameters(shape.to_dict(), lora).trainable == attentions * 4 * (d + d)
        if family == "gpt2":
            fused = minipeft.LoraConfig(r=1, target_modules=["c_attn"])
            assert count_parameters(shape.to_dict(), fused).trainable == attentions * (d + 3 * d)


@pytest.mark.parametrize("inner", [12, 24])
def test_prefixes_are_as_wide_as_the_keys_not_as_the_model(inner):
    """peft takes T5's d_model for both; where they differ, its model can't run."""
    shape = transformers.T5Config(
        vocab_size=9, d_model=12, num_heads=3, d_kv=inner // 3, d_ff=7, num_layers=2
    )
    given = {"num_virtual_tokens": 5, "task_type": "SEQ_2_SEQ_LM"}
    count = count_parameters(shape.to_dict(), minipeft.PrefixTuningConfig(**given))
    assert count.trainable == 5 * 2 * 2 * inner
    shape.decoder_start_token_id = 0
    real = transformers.T5ForConditionalGeneration(shape)
    theirs = peft.get_peft_model(real, peft.PrefixTuningConfig(**given))
    assert theirs.get_nb_trainable_parameters()[0] == 5 * 2 * 2 * 12
    tokens = torch.ones(1, 3, dtype=torch.int64)
    if inner == 12:
        theirs(input_ids=tokens, labels=tokens)
    else:
        with pytest.raises(RuntimeError, match=r"shape|Sizes"):
            theirs(input_ids=tokens, labels=tokens)
