"""Counts of the methods that Hugging Face peft doesn't have."""

import adapters
import pytest
import torch
from torch import nn

import minipeft
from minipeft.budget import Architecture, count_parameters
from minipeft.core.linear import is_linear

from .families import CONFIGS, HEADS, SEEDS, config, model

OWN = {  # where the adapters library puts adapters: not on attention to another stack
    "t5": ("SelfAttention.o", "DenseReluDense.wo"),
    "mt5": ("SelfAttention.o", "DenseReluDense.wo"),
    "whisper": ("self_attn.out_proj", "fc2"),
}
MLPS = {"gpt2": "mlp", "t5": "DenseReluDense", "mt5": "DenseReluDense"}
MLPS |= dict.fromkeys(("llama", "mistral", "qwen2"), "mlp")


def real_and_fields(family: str, seed: int) -> tuple[nn.Module, dict]:
    shape = config(family, seed)
    real = model(shape, HEADS[family][0][0])
    return real, shape.to_dict() | {"architectures": [type(real).__name__]}


def by_adapters(family: str, seed: int, kind: type) -> int:
    """What the adapters library trains, its bottleneck a fourth as wide as the model."""
    shape = config(family, seed)
    real = HEADS[family][0][0].from_config(shape)
    adapters.init(real)
    real.add_adapter("one", config=kind(reduction_factor=4))
    real.train_adapter("one")
    named = real.named_parameters()
    return sum(p.numel() for name, p in named if p.requires_grad and "adapters" in name)


@pytest.mark.parametrize("seed", SEEDS[4:6])
@pytest.mark.parametrize("family", CONFIGS)
def test_bottlenecks_as_the_adapters_library_trains(family, seed):
    real, fields = real_and_fields(family, seed)
    attention, mlp = OWN.get(family, ("o_proj", "down_proj"))
    for kind, style, targets in (
        (adapters.DoubleSeqBnConfig, "houlsby", [attention, mlp]),
        (adapters.SeqBnConfig, "pfeiffer", [mlp]),
        (adapters.ParBnConfig, "parallel", [MLPS.get(family)]),
    ):
        if targets != [None]:
            options = {"style": style, "bottleneck_size": real.config.hidden_size // 4}
            config = minipeft.BottleneckConfig(target_modules=targets, **options)
            count = count_parameters(fields, config)
            assert count.trainable == by_adapters(family, seed, kind), style


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_usual_places_of_bottlenecks_are_found_by_family(family):
    real, fields = real_and_fields(family, 0)
    width = real.config.hidden_size // 4
    kinds = {"houlsby": adapters.DoubleSeqBnConfig, "pfeiffer": adapters.SeqBnConfig}
    for style, kind in kinds.items():
        config = minipeft.BottleneckConfig(style=style, bottleneck_size=width)
        assert count_parameters(fields, config).trainable == by_adapters(family, 0, kind)


@pytest.mark.parametrize("family", [name for name in CONFIGS if not name.endswith("t5")])
def test_bitfit_trains_every_bias(family):
    for seed in SEEDS:
        real, fields = real_and_fields(family, seed)
        biases = {n: p for n, p in real.named_parameters() if n.endswith("bias")}
        if biases:
            count = count_parameters(fields, minipeft.BitFitConfig())
            assert count.trainable == sum(bias.numel() for bias in biases.values())
            assert count.total == real.num_parameters()


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_bitfit_gives_biases_to_layers_without(family):
    real, fields = real_and_fields(family, 1)
    head = real.get_output_embeddings()
    layers = [m for m in real.modules() if is_linear(m) and m is not head]
    count = count_parameters(fields, minipeft.BitFitConfig(target_modules="all-linear"))
    assert count.trainable == sum(layer.out_features for layer in layers)


@pytest.mark.parametrize("family", CONFIGS)
def test_partial_and_full_count_the_real_parameters(family):
    for seed in SEEDS[::3]:
        real, fields = real_and_fields(family, seed)
        norms = count_parameters(fields, minipeft.PartialConfig(norms=True))
        kept = [m for m in real.modules() if "norm" in type(m).__name__.lower()]
        assert norms.trainable == sum(p.numel() for m in kept for p in m.parameters())
        block = next(name for name, _ in real.named_modules() if name.endswith(".0"))
        one = count_parameters(fields, minipeft.PartialConfig(blocks=[block]))
        assert one.trainable == sum(p.numel() for p in real.get_submodule(block).parameters())
        full = count_parameters(fields)
        assert full.trainable == full.total == real.num_parameters()
        assert sum(full.by_module.values()) == full.trainable
        assert full.percent == 100


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("family", CONFIGS)
def test_diff_pruning_trains_twice_the_matrix_and_a_gate_for_it(family, structured):
    real, fields = real_and_fields(family, 2)
    head = real.get_output_embeddings()
    sizes = [m.weight.numel() for m in real.modules() if is_linear(m) and m is not head]
    given = {"target_modules": "all-linear", "structured": structured}
    count = count_parameters(fields, minipeft.DiffPruningConfig(**given))
    assert count.trainable == 2 * sum(sizes) + structured * len(sizes)


@pytest.mark.parametrize("method", ["full", "LoRA"])
def test_a_model_counts_as_its_config_does(method):
    """A transformers model, and one of no family at all."""
    real, fields = real_and_fields("gpt2", 3)
    given = minipeft.LoraConfig(r=1, target_modules=["c_attn"]) if method == "LoRA" else None
    assert count_parameters(real, given) == count_parameters(fields, given)
    canonical = minipeft.LoraConfig(r=1, target_modules=["q_proj", "v_proj"])
    assert count_parameters(real, canonical) == count_parameters(fields, canonical)
    plain = nn.Sequential(nn.Linear(4096, 4096, bias=False, device="meta"))
    one = count_parameters(plain, minipeft.LoraConfig(r=8, target_modules=["0"]))
    assert (one.trainable, one.base) == (65_536, 16_777_216)


def test_full_fine_tuning_of_a_model_counts_what_requires_a_gradient():
    with torch.device("meta"):
        frozen = minipeft.get_peft_model(
            nn.Sequential(nn.Linear(6, 5)), minipeft.LoraConfig(r=2, target_modules=["0"])
        )
    assert count_parameters(frozen).trainable == 2 * (6 + 5)


def test_kinds_of_ones_own():
    sizes = {"hidden_size": 8, "intermediate_size": 20, "num_hidden_layers": 3}
    sizes["num_attention_heads"] = 2
    given = minipeft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"])
    for kind, attentions in (("decoder", 3), ("encoder", 3), ("encoder-decoder", 9)):
        extra = {"head_dim": 4} if kind == "encoder-decoder" else {}
        count = count_parameters(Architecture(kind, vocab_size=11, **sizes, **extra), given)
        mlps = 6 if kind == "encoder-decoder" else 3
        assert count.trainable == 2 * (attentions * (8 + 8) + mlps * (20 + 8))
    picture = Architecture("vit", image_size=8, patch_size=4, **sizes)
    assert count_parameters(picture, given).trainable == 2 * 3 * (16 + 28)


def test_heads_of_a_frozen_model_are_trained_all_the_same():
    real, fields = real_and_fields("gpt2", 3)
    lora = minipeft.LoraConfig(
        r=1, target_modules=["c_attn"], modules_to_save=["lm_head", "wte"], bias="lora_only"
    )
    before = count_parameters(fields, lora)
    assert count_parameters(real.requires_grad_(False), lora) == before
    assert count_parameters(real).trainable == 0


def test_soft_prompts_of_a_model_that_could_not_take_one():
    real, fields = real_and_fields("t5", 3)
    prompt = minipeft.PromptTuningConfig(num_virtual_tokens=4, task_type="SEQ_2_SEQ_LM")
    assert count_parameters(real, prompt).trainable == 2 * 4 * real.config.d_model
    assert count_parameters(real, prompt) == count_parameters(fields, prompt)
