"""Of equal layers three run; a ledger has the same bytes when all of them run."""

import pytest

from minipeft import (
    AdaLoraConfig,
    BitFitConfig,
    BottleneckConfig,
    IA3Config,
    LoraConfig,
    PartialConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    VeraConfig,
)
from minipeft.budget import ARCHITECTURES, Architecture, memory_budget, saved_tensors

LAYERS = 9
SIZES = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24}
SIZES |= {"num_attention_heads": 4, "num_hidden_layers": LAYERS}
LLAMA = SIZES | {"model_type": "llama"}
QV = ["q_proj", "v_proj"]
METHODS = {
    "full": (None, 3),
    "LoRA": (LoraConfig(r=2, target_modules=QV), 3),
    "LoRA on values": (LoraConfig(r=2, target_modules=["v_proj"]), 3),
    "DoRA with dropout": (LoraConfig(r=2, target_modules=QV, use_dora=True, lora_dropout=0.1), 3),
    "AdaLoRA": (AdaLoraConfig(target_modules=QV, total_step=9), 3),
    "VeRA": (VeraConfig(r=2, target_modules=QV), 3),
    "IA3": (IA3Config(), 3),
    "Houlsby": (BottleneckConfig(style="houlsby", bottleneck_size=2), LAYERS),
    "the last blocks": (PartialConfig(last_layers=4), 6),
    "biases": (BitFitConfig(target_modules=QV), 3),
    "a prompt": (PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"), 3),
    "a prefix": (PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"), 3),
    "some layers": (LoraConfig(r=2, target_modules=QV, layers_to_transform=[1, 5, 6, 7, 8]), None),
    "other ranks": (
        LoraConfig(r=2, target_modules=QV, rank_pattern={r"layers\.[34]\.self_attn\.q_proj": 5}),
        None,
    ),
}
# What transformers builds: the layers that run, of all.
FAMILIES = {
    "gpt2": ({"model_type": "gpt2", "n_embd": 16, "n_layer": 9, "n_head": 4, "vocab_size": 64}, 3),
    "bert": (SIZES | {"model_type": "bert"}, 3),
    "opt": (SIZES | {"model_type": "opt", "ffn_dim": 24, "word_embed_proj_dim": 16}, 3),
    "qwen3": (SIZES | {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 4}, 3),
    "gemma2": (SIZES | {"model_type": "gemma2", "num_key_value_heads": 2, "head_dim": 4}, LAYERS),
    "vit": (SIZES | {"model_type": "vit", "image_size": 8, "patch_size": 4}, 3),
    "t5": (
        {"model_type": "t5", "d_model": 16, "d_ff": 24, "num_layers": 6, "num_heads": 4}
        | {"num_decoder_layers": 5, "vocab_size": 64},
        6,  # three of each stack; the first has the table of positions
    ),
}


@pytest.fixture
def both(monkeypatch):
    """Call for a ledger; (what it says, what it says when each layer runs, how many layers ran)."""

    def make(*given, **options):
        ran, run_all = [], []
        with monkeypatch.context() as patch:
            quick = spied(patch, ran, *given, **options)
        with monkeypatch.context() as patch:
            patch.setattr(saved_tensors, "alike", lambda one, other: False)
            whole = spied(patch, run_all, *given, **options)
        assert run_all[0] > 3
        return quick, whole, ran[0]

    return make


def spied(patch, ran, *given, **options):
    """A ledger as a dictionary; the layers that ran are counted."""
    count = saved_tensors.SavedTensors.bytes

    def bytes_(saved):
        ran.append(len(saved.layers))
        return count(saved)

    patch.setattr(saved_tensors.SavedTensors, "bytes", bytes_)
    budget = memory_budget(*given, **options)
    return budget.to_dict() | {"moments": budget.moments}


@pytest.mark.parametrize("training", [True, False], ids=["training", "generating"])
@pytest.mark.parametrize("name", METHODS)
def test_three_of_equal_layers_tell_of_all(name, training, both):
    config, layers = METHODS[name]
    quick, whole, ran = both(LLAMA, config, batch=2, length=8, training=training)
    assert quick == whole
    if training:
        assert ran == layers or (layers is None and 3 < ran <= LAYERS)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("training", [True, False], ids=["training", "generating"])
def test_of_each_family_what_differs_runs(name, training, both):
    fields, layers = FAMILIES[name]
    quick, whole, ran = both(Architecture.from_config(fields), None, length=8, training=training)
    assert quick == whole
    assert ran == layers


SETUPS = {
    "checkpointing": {"checkpointing": True},
    "4 bits": {"quantization": "nf4_double", "optimizer": "paged_adamw"},
    "4 bits prepared": {"quantization": "nf4", "prepared": True, "checkpointing": True},
    "eager": {"attention": "eager", "adapter_dtype": "bfloat16"},
}


@pytest.mark.parametrize("setup", SETUPS)
def test_whatever_the_setup(setup, both):
    lora = LoraConfig(r=2, target_modules="all-linear")
    quick, whole, ran = both(LLAMA, lora, batch=2, length=8, **SETUPS[setup])
    assert quick == whole
    assert ran <= 4


def test_a_published_stack_of_80_layers(both):
    """It would take seconds if all 80 ran."""
    quick, whole, ran = both(ARCHITECTURES["llama-65b"], LoraConfig(r=8, target_modules=QV))
    assert quick == whole
    assert ran == 3
