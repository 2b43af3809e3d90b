"""CONTRIBUTING's example method is counted and budgeted as it stands: no line says how."""

import pytest
import torch

import minipeft
from benchmarks.memory import held_by
from minipeft.budget import count_parameters, memory_budget
from minipeft.models.llama import Llama, LlamaConfig
from tests.core.test_contributing import scale_config  # noqa: F401 - the fixture

from .measure import bytes_of, saved_tensors

SIZES = {"vocab_size": 50, "hidden_size": 24, "intermediate_size": 60, "num_hidden_layers": 3}
SIZES |= {"num_attention_heads": 4}


def test_a_new_method_is_counted(scale_config):  # noqa: F811
    config = scale_config(target_modules=["q_proj", "v_proj"])
    for model in ("llama-7b", "bert-base-uncased", "gpt2"):
        count = count_parameters(model, config)
        layers = 2 * (32 if model == "llama-7b" else 12)
        assert (count.trainable, count.added) == (layers, layers)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_new_method_is_budgeted(scale_config, checkpointing):  # noqa: F811
    torch.manual_seed(0)
    base, config = Llama(LlamaConfig(**SIZES)), scale_config(target_modules="all-linear")
    rows = memory_budget(base, config, batch=2, length=12, checkpointing=checkpointing).rows
    if checkpointing:
        base.gradient_checkpointing_enable()
    before = bytes_of(held_by(base))
    model = minipeft.get_peft_model(base, config).train()
    tokens = torch.randint(50, (2, 12))
    with saved_tensors(model) as saved:
        model(tokens)
    assert rows["activations"] == bytes_of(saved)
    assert rows["adapter"] == bytes_of(held_by(model)) - before == 4 * 21
    assert rows["gradients"] == 4 * 21
