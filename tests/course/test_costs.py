"""The bytes of full fine-tuning: published figures, torch's tensors, the framework's ledger."""

import pytest
import torch
from torch import nn

from minipeft import memory_budget
from minipeft.course.lessons.costs import CONVENTIONS, full_tuning, stored

LLAMA_7B = 6_738_415_616
IN_FP32 = {"dtype": "float32"}
OPTIONS = {
    "all in bf16 (8)": {"state_dtype": "bfloat16"},
    "bf16, Adam in fp32 (12)": {},
    "all in fp32 (16)": IN_FP32,
    "mixed, as in ZeRO (16)": {"master_copy": True},
    "mixed, fp32 gradients (18)": {"master_copy": True, "gradient_dtype": "float32"},
}


@pytest.mark.parametrize(
    ("parameters", "convention", "gigabytes"),
    [
        (7_000_000_000, "bf16, Adam in fp32 (12)", 84.0),
        (65_000_000_000, "bf16, Adam in fp32 (12)", 780.0),  # QLoRA, section 1
        (7_000_000_000, "all in fp32 (16)", 112.0),  # Biderman et al. 2024, table S14
        (7_500_000_000, "mixed, as in ZeRO (16)", 120.0),  # ZeRO, figure 1
        (1_500_000_000, "mixed, as in ZeRO (16)", 24.0),  # ZeRO, section 3.1
        (7_000_000_000, "mixed, fp32 gradients (18)", 126.0),
        (LLAMA_7B, "bf16, Adam in fp32 (12)", 80.86),
        (LLAMA_7B, "mixed, as in ZeRO (16)", 107.81),
        (LLAMA_7B, "mixed, fp32 gradients (18)", 121.29),
    ],
)
def test_published_figures(parameters, convention, gigabytes):
    total = sum(full_tuning(parameters, convention).values())
    assert total / 1e9 == pytest.approx(gigabytes, abs=0.005)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_ledger_of_the_framework_says_the_same(convention):
    rows = memory_budget("llama-7b", **OPTIONS[convention]).rows
    want = full_tuning(LLAMA_7B, convention)
    assert rows["weights"] == want["weights"]
    assert rows["gradients"] == want["gradients"]
    steps = rows["optimizer"] - want["adam"]
    assert 0 < steps < 2000 and steps % 4 == 0, "torch counts each tensor's steps in 4 bytes"
    assert rows["master copy"] == want["master"]


@pytest.mark.parametrize(
    ("dtype", "convention"),
    [(torch.bfloat16, "all in bf16 (8)"), (torch.float32, "all in fp32 (16)")],
)
def test_torch_holds_as_many_bytes(dtype, convention):
    layer = nn.Linear(40, 30, dtype=dtype)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(2, 40, dtype=dtype)).sum().backward()
    optimizer.step()
    want = full_tuning(40 * 30 + 30, convention)
    assert sum(p.nbytes for p in layer.parameters()) == want["weights"]
    assert sum(p.grad.nbytes for p in layer.parameters()) == want["gradients"]
    states = [s for state in optimizer.state.values() for s in state.values() if s.ndim]
    assert sum(s.nbytes for s in states) == want["adam"]


def test_names_say_how_many_bytes():
    for name, convention in CONVENTIONS.items():
        assert name.endswith(f"({convention.total})")


def test_five_tasks_of_seven_billion_are_seventy_gigabytes():
    assert stored(7_000_000_000, tasks=5) == 70_000_000_000
    assert stored(1_771_200, tasks=1, width=4) == 7_084_800


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: full_tuning(7, "all in fp16 (8)"), "bf16"),
        (lambda: full_tuning(0, "all in fp32 (16)"), "parameters=0"),
        (lambda: full_tuning(7e9, "all in fp32 (16)"), "parameters=7"),
        (lambda: stored(7, tasks=0), "tasks=0"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
