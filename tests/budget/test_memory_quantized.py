"""The ledger of a base in four bits, predicted from its shape and measured on a CPU."""

import pytest
import torch

import minipeft
from minipeft.budget import count_parameters, memory_budget
from minipeft.course.base import load_base
from minipeft.models.llama import Llama

from .measure import bytes_of, saved_tensors
from .test_memory_measured import ALL, random_llama

BASES = {"shipped": lambda: load_base()[0], "random": lambda: random_llama(2)}
CONFIGS = {
    "LoRA": minipeft.LoraConfig(r=4, target_modules=ALL),
    "DoRA": minipeft.LoraConfig(r=4, target_modules=ALL, use_dora=True),
    "IA3": minipeft.IA3Config(),
    "Houlsby": minipeft.BottleneckConfig(style="houlsby", bottleneck_size=8),
}


def quantized(base: Llama, double: bool) -> Llama:
    return minipeft.quantize_model(base, double_quant=double, progress=False)


def in_four_bits(model: Llama) -> list[minipeft.quant.Linear4bit]:
    return [m for m in model.modules() if isinstance(m, minipeft.quant.Linear4bit)]


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("base", BASES)
def test_weights_and_constants_to_the_byte(base, dtype, double):
    dense = BASES[base]().to(dtype)
    config = CONFIGS["LoRA"]
    recipe = {"quantization": "nf4_double" if double else "nf4"}
    predicted = memory_budget(dense, config, **recipe).rows
    model = quantized(dense, double)
    packed = in_four_bits(model)
    assert predicted["weights"] == bytes_of(model.parameters())
    constants = sum(m.quantized.nbytes - m.quantized.codes.nbytes for m in packed)
    assert predicted["quantization constants"] == constants
    again = memory_budget(model, config).rows
    for row in ("weights", "quantization constants", "adapter", "gradients", "optimizer"):
        assert again[row] == predicted[row]


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("method", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_on_four_bits(method, dtype, checkpointing):
    base = quantized(random_llama(2).to(dtype), double=True)
    options = {"batch": 2, "length": 12, "checkpointing": checkpointing}
    row = memory_budget(base, CONFIGS[method], **options).rows["activations"]
    if checkpointing:
        base.gradient_checkpointing_enable()
    model = minipeft.get_peft_model(base, CONFIGS[method]).train()
    with saved_tensors(model) as saved:
        model(torch.randint(base.config.vocab_size, (2, 12)))
    assert row == pytest.approx(bytes_of(saved), rel=5e-3)


def test_a_packed_weight_counts_as_what_it_stands_for():
    dense = random_llama(1)
    plain = count_parameters(dense, CONFIGS["LoRA"])
    assert count_parameters(quantized(dense, double=True), CONFIGS["LoRA"]) == plain


def test_skipped_layers_stay_as_they_are():
    dense = random_llama(3)
    skip = ["lm_head", "self_attn"]
    row = memory_budget(dense, CONFIGS["LoRA"], quantization="nf4_double", skip=skip).rows[
        "weights"
    ]
    model = minipeft.quantize_model(dense, skip=skip, progress=False)
    assert row == bytes_of(model.parameters())
