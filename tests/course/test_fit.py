"""Will it fit: the parts of a peak add up to the ledger's, to the byte."""

import pytest

from minipeft.budget import memory_budget
from minipeft.course.lab.pictures.lesson_11 import PARTS, fit_picture
from minipeft.course.lessons.fit import SETUPS, peak_parts
from minipeft.methods.lora import LoraConfig

CONFIG = LoraConfig(r=64, lora_alpha=16, target_modules="all-linear")


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("name", SETUPS)
def test_as_the_ledger_has_it(name, checkpointing):
    options = {"batch": 2, "length": 96, "checkpointing": checkpointing} | SETUPS[name]
    budget = memory_budget("llama-7b", CONFIG, **options)
    parts = peak_parts("llama-7b", 2, 96, checkpointing)[name]
    assert sum(parts.values()) == budget.needed_bytes
    assert parts["weights"] == (budget.rows["weights"] + budget.rows["quantization constants"])
    assert all(size > 0 for size in parts.values())


def test_the_picture_says_what_is_too_much():
    parts = {"one": dict.fromkeys(PARTS, 10**9), "two": dict.fromkeys(PARTS, 2 * 10**9)}
    fig = fit_picture(parts, 4 * 10**9, "a title")
    said = [text.get_text().strip() for text in fig.axes[0].texts]
    assert said == ["3.0", "6.0, too much", "the card, 4"]
