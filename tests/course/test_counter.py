"""The parameter counter of lesson 04: what its widget shows, at every position."""

import pytest
from torch import nn

from minipeft.budget import ARCHITECTURES, Architecture, count_parameters
from minipeft.course.lessons.counter import (
    KINDS,
    METHODS,
    OWN_PLACES,
    TARGETS,
    TOKENS,
    WITHOUT_SIZE,
    by_kind,
    config_for,
    described,
)

SMALL = Architecture(
    vocab_size=60, hidden_size=24, intermediate_size=40, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2,
)  # fmt: skip
CHOICES = [(method, targets) for method in METHODS for targets in TARGETS]


@pytest.mark.parametrize(("method", "targets"), CHOICES)
def test_the_kinds_add_up_to_the_count(method, targets):
    for size in (1, 5):
        config = config_for(method, targets, size)
        kinds, count = by_kind(SMALL, config)
        trained = sum(count for _, count in kinds.values())
        assert trained == count.trainable == count_parameters(SMALL, config).trainable
        touched = {kind for kind, (_, count) in kinds.items() if count}
        assert method in OWN_PLACES or touched == set(TARGETS[targets])
        assert (TOKENS in kinds) == (method in ("prefix", "prompt"))


def test_the_bases_numbers_are_those_of_the_matrices():
    kinds, _ = by_kind(SMALL, config_for("LoRA", "q, v", 2))
    layers = [m for p, m in SMALL.model.named_modules() if p.rpartition(".")[2] in KINDS]
    assert all(isinstance(layer, nn.Linear) for layer in layers)
    assert sum(base for base, _ in kinds.values()) == sum(m.weight.numel() for m in layers)
    assert kinds["v_proj"] == (3 * 12 * 24, 3 * 2 * (12 + 24))


@pytest.mark.parametrize("method", METHODS)
def test_the_words_leave_out_what_says_nothing(method):
    counts = {
        (targets, size): count_parameters(SMALL, config_for(method, targets, size)).trainable
        for targets in ("q, v", "MLP")
        for size in (2, 4)
    }
    assert (counts["q, v", 2] == counts["q, v", 4]) == (method in WITHOUT_SIZE)
    assert (counts["q, v", 2] == counts["MLP", 2]) == (method in OWN_PLACES)
    words = described(method, "q, v", 2)
    assert ("2" in words) == (method not in WITHOUT_SIZE)
    assert ("q, v" in words) == (method not in OWN_PLACES)


def test_names_are_known_by_name():
    assert by_kind("smollm2-135m", config_for("LoRA", "q, v", 4)) == by_kind(
        ARCHITECTURES["smollm2-135m"], config_for("LoRA", "q, v", 4)
    )
    with pytest.raises(ValueError, match=r"'Lora' is not known.*LoRA"):
        config_for("Lora", "q, v", 4)
    with pytest.raises(ValueError, match="'qv' is not known"):
        config_for("LoRA", "qv", 4)
