"""The ledger's peak beside what a GPU's allocator measures: within 10%."""

import pytest
import torch
import torch.nn.functional as F

import minipeft
from benchmarks.memory import held_by, peak
from minipeft.budget import memory_budget
from minipeft.models.llama import Llama, LlamaConfig

pytestmark = pytest.mark.gpu
BATCH, LENGTH = 4, 512
LORA = minipeft.LoraConfig(r=16, target_modules="all-linear")
CASES = {
    "full, 32 bits": (None, torch.float32, False),
    "full, 16 bits": (None, torch.bfloat16, False),
    "LoRA": (LORA, torch.bfloat16, False),
    "QLoRA": (LORA, torch.bfloat16, True),
}


def model_of(dtype: torch.dtype, quantized: bool) -> Llama:
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=2048,
        intermediate_size=5504,
        num_hidden_layers=8,
        num_attention_heads=16,
    )
    with torch.device("cuda"):
        model = Llama(config).to(dtype)
    return minipeft.quantize_model(model, progress=False) if quantized else model


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("case", CASES)
def test_peak_of_a_step(case, checkpointing):
    config, dtype, quantized = CASES[case]
    base = model_of(dtype, quantized)
    options = {"batch": BATCH, "length": LENGTH, "checkpointing": checkpointing}
    if config is None:  # torch keeps the means as wide as the weights
        options["state_dtype"] = str(dtype).removeprefix("torch.")
    budget = memory_budget(base, config, **options)
    if checkpointing:
        base.gradient_checkpointing_enable()
    model = (base if config is None else minipeft.get_peft_model(base, config)).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    tokens = torch.randint(32_000, (BATCH, LENGTH), device="cuda")

    def step() -> None:
        logits = model(tokens)
        F.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    measured = peak(step, held_by(model, optimizer), "cuda").total
    assert budget.peak_bytes == pytest.approx(measured, rel=0.1)
