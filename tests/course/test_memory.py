"""What lesson 05 watches and draws: the allocator's ledger, the peaks, the pictures' numbers."""

import pytest
import torch

from benchmarks.memory import held_by, peak
from minipeft import LoraConfig, get_peft_model
from minipeft.budget import memory_budget
from minipeft.course.base import load_base
from minipeft.course.lab.pictures import lesson_05
from minipeft.course.lessons.memory import (
    allocations,
    watch_step,
    will_it_fit,
)

LORA = LoraConfig(r=8, target_modules="all-linear")


def test_allocations_follow_tensors_through_phases():
    there = {}

    def make():
        there["a"] = torch.empty(1000)

    def more():
        there["b"] = torch.empty(500)
        torch.empty(2000)  # gone at once

    found = allocations({"make": make, "more": more, "drop": there.clear, "nothing": lambda: None})
    assert found["make"] == [0, 4000]
    assert found["more"] == [4000, 6000, 14000, 6000]
    assert found["drop"][-1] == 0
    assert found["nothing"] == [0]


@pytest.mark.parametrize("config", [None, LORA], ids=["full", "LoRA"])
def test_a_watched_step_has_the_peak_that_is_predicted(config):
    base = load_base()[0]
    budget = memory_budget(base, config, batch=8, length=64)
    model = base if config is None else get_peft_model(base, config)
    tokens = torch.randint(1024, (8, 64))
    course = watch_step(model, tokens)
    assert list(course) == ["forward", "loss", "backward", "step"]
    assert course["forward"][0] == 0
    assert course["step"][-1] == pytest.approx(0, abs=1000)
    always = ("weights", "adapter", "optimizer")
    there = sum(budget.rows[row] for row in always)
    highest = max(max(part) for part in course.values())
    assert highest + there == pytest.approx(budget.peak_bytes, rel=2e-3)


def test_the_watched_peak_is_that_of_the_benchmarks():
    model = get_peft_model(load_base()[0], LORA)
    tokens = torch.randint(1024, (4, 32))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])

    def step():
        logits = model(tokens).flatten(0, 1)
        torch.nn.functional.cross_entropy(logits, tokens.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    measured = peak(step, held_by(model, optimizer)).beyond
    course = watch_step(model, tokens)
    assert max(max(part) for part in course.values()) == pytest.approx(measured, rel=2e-3)


def test_four_bits_and_checkpointing_take_less():
    wide = will_it_fit("llama-7b", "LoRA, 16 bits", 4, 1024, False)
    narrow = will_it_fit("llama-7b", "LoRA, 4 bits", 4, 1024, False)
    again = will_it_fit("llama-7b", "LoRA, 4 bits", 4, 1024, True)
    assert wide.peak_bytes > narrow.peak_bytes > again.peak_bytes
    assert will_it_fit("llama-7b", "LoRA, 4 bits", 4, 1024, True) is again


def test_what_makes_the_widgets_first_setting_fit():
    """The lesson says: two of three."""
    asked = ("llama-7b", "LoRA, 16 bits", 4, 1024, False)
    changes = {
        "4 bits": ("llama-7b", "LoRA, 4 bits", 4, 1024, False),
        "batch 1": ("llama-7b", "LoRA, 16 bits", 1, 1024, False),
        "checkpointing": ("llama-7b", "LoRA, 16 bits", 4, 1024, True),
    }
    card = 24 * 2**30
    assert will_it_fit(*asked).peak_bytes > card
    fits = {name: will_it_fit(*setting).peak_bytes <= card for name, setting in changes.items()}
    assert fits == {"4 bits": False, "batch 1": True, "checkpointing": True}


def test_the_pictures_say_what_they_show():
    moments = will_it_fit("llama-7b", "LoRA, 16 bits", 1, 512, False).moments
    for gib, verdict in ((80, " fits "), (8, "does not fit")):
        fig, alt, data = lesson_05.fit_picture(moments, gib * 2**30, "a model")
        assert verdict in alt and f"{gib} GiB" in alt
        assert len(data) == 3
        lesson_05.plt.close(fig)
    ledgers = {"one": {"weights": 3 * 10**6, "logits": 0}, "two": {"weights": 10**6, "logits": 5}}
    fig, alt, data = lesson_05.ledger_picture(ledgers)
    assert "one 3.0" in alt and data["weights"] == [3, 1]
    lesson_05.plt.close(fig)
