"""The ledger of a base in four bits, predicted from its shape and measured on a CPU."""

import bitsandbytes
import pytest
import torch
import transformers

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
    assert row == bytes_of(saved)


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


def test_a_prepared_model_computes_in_32_bits():
    """prepare_model_for_kbit_training puts embeddings, norms and the head into 32 bits."""
    options = {"batch": 2, "length": 12, "checkpointing": True}
    dense = random_llama(2).to(torch.bfloat16)
    told = memory_budget(dense, CONFIGS["LoRA"], quantization="nf4_double", **options)
    assert "prepared=True" in told.table()
    rows = memory_budget(
        dense, CONFIGS["LoRA"], quantization="nf4_double", prepared=True, **options
    ).rows
    live = minipeft.prepare_model_for_kbit_training(quantized(dense, double=True))
    again = memory_budget(live, CONFIGS["LoRA"], **options).rows
    assert rows == again
    assert rows["logits"] > 1.9 * told.rows["logits"]
    model = minipeft.get_peft_model(live, CONFIGS["LoRA"]).train()
    with saved_tensors(model) as saved:
        logits = model(torch.randint(live.config.vocab_size, (2, 12)))
    assert rows["activations"] == bytes_of(saved)
    assert logits.dtype == torch.float32


def test_the_loss_of_transformers_keeps_32_bits():
    """Its logits have the model's 16 bits; the logarithms that its loss keeps have 32."""
    config = transformers.LlamaConfig(
        vocab_size=160, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2,
    )  # fmt: skip
    base = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    tokens = torch.randint(160, (2, 8))
    row = memory_budget(base, CONFIGS["LoRA"], batch=2, length=8).rows["logits"]
    model = minipeft.get_peft_model(base, CONFIGS["LoRA"]).train()
    with saved_tensors(model) as alone:
        model(input_ids=tokens, use_cache=False)
    with saved_tensors(model) as both:
        model(input_ids=tokens, labels=tokens, use_cache=False)
    assert row == pytest.approx(bytes_of(both) - bytes_of(alone), rel=0.01)
    assert row > 4 * 2 * 8 * 160


@pytest.mark.parametrize("bits", [4, 8])
def test_packed_layers_of_bitsandbytes_count_as_what_they_stand_for(bits):
    base = random_llama(1)
    plain = count_parameters(base, CONFIGS["LoRA"])
    for path, layer in list(base.named_modules()):
        if isinstance(layer, torch.nn.Linear) and path != "lm_head":
            sizes = layer.in_features, layer.out_features, layer.bias is not None
            kind = bitsandbytes.nn.Linear4bit if bits == 4 else bitsandbytes.nn.Linear8bitLt
            base.set_submodule(path, kind(*sizes).to("cpu"))
    assert count_parameters(base, CONFIGS["LoRA"]) == plain
