"""The peak is the fullest of three moments, and a budget says nothing on the side."""

import pytest
import transformers

from minipeft import LoraConfig
from minipeft.budget import ARCHITECTURES, memory_budget

SMALL = ARCHITECTURES["llama-7b"].but(num_hidden_layers=3)
LORA = LoraConfig(r=8, target_modules="all-linear")


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("config", [None, LORA], ids=["full", "LoRA"])
def test_the_peak_is_the_fullest_moment(config, checkpointing):
    budget = memory_budget(SMALL, config, batch=2, length=128, checkpointing=checkpointing)
    sums = {name: sum(there.values()) for name, there in budget.moments.items()}
    assert max(sums.values()) == budget.peak_bytes <= budget.total_bytes
    backward = budget.moments["in the backward pass"]
    both = backward["activations"] + backward["gradients"]
    assert both == max(budget.rows["activations"], budget.rows["gradients"])


def test_generation_has_weights_and_a_cache_at_every_moment():
    budget = memory_budget(SMALL, training=False, length=128)
    for there in budget.moments.values():
        assert there["weights"] == budget.rows["weights"]
        assert there["key/value cache"] == budget.rows["key/value cache"] > 0


def test_no_word_of_a_library_that_builds_the_model(monkeypatch):
    """To ask a model of transformers for its loss makes it warn of a loss type it doesn't know."""
    said = []
    logger = transformers.modeling_utils.logger
    monkeypatch.setattr(logger, "warning_once", lambda text, *_: said.append(text))
    memory_budget(ARCHITECTURES["gpt3-175b"].but(num_hidden_layers=1), length=8)
    assert said == []
