"""How an adapter starts: the spread of A, the zero of B, and step 0, the base bit for bit."""

import math

import pytest
import torch
from torch import nn

from .models import FAMILIES, build, logits
from .peers import trained_by_us, wrap_ours

IN, OUT, RANK = 900, 700, 20


def tuner(init: object) -> nn.Module:
    """The tuner of one wide layer: enough numbers for sharp statistics."""
    model = wrap_ours(
        nn.Sequential(nn.Linear(IN, OUT)),
        {"r": RANK, "target_modules": ["0"], "init_lora_weights": init},
    )
    return model.base_model[0].tuner


def assert_uniform(weight: torch.Tensor, bound: float) -> None:
    """U(-bound, bound): edges reached but not passed, mean 0, variance bound^2 / 3."""
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.999 * bound
    count = weight.numel()
    assert abs(weight.mean()) < 5 * bound / math.sqrt(3 * count)
    assert weight.var().item() == pytest.approx(bound**2 / 3, rel=0.03)


def test_default_start_is_kaiming_uniform():
    """kaiming_uniform_(a=sqrt 5) is U(-1/sqrt(in), 1/sqrt(in)), as in microsoft/LoRA and peft."""
    start = tuner(True)
    assert start.lora_A.weight.shape == (RANK, IN)
    assert start.lora_B.weight.shape == (OUT, RANK)
    assert_uniform(start.lora_A.weight.detach(), 1 / math.sqrt(IN))
    assert not start.lora_B.weight.any()


def test_gaussian_start_has_standard_deviation_one_over_r():
    weight = tuner("gaussian").lora_A.weight.detach()
    assert weight.std().item() == pytest.approx(1 / RANK, rel=0.03)
    assert abs(weight.mean()) < 5 / RANK / math.sqrt(weight.numel())
    within = (weight.abs() < 1 / RANK).double().mean().item()
    assert within == pytest.approx(0.6827, abs=0.02)  # the share of a normal within one sigma
    assert not tuner("gaussian").lora_B.weight.any()


def test_random_start_fills_both_matrices():
    """False: for tests only, the adapter acts from step 0; B is U(-1/sqrt(r), 1/sqrt(r))."""
    start = tuner(False)
    assert_uniform(start.lora_A.weight.detach(), 1 / math.sqrt(IN))
    assert_uniform(start.lora_B.weight.detach(), 1 / math.sqrt(RANK))


def test_the_seed_decides_the_start():
    starts = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        starts.append(tuner(True).lora_A.weight)
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("init", [True, "gaussian"])
def test_step_0_is_the_base_bit_for_bit(family, dtype, init):
    base = build(family, dtype)
    before = logits(base)
    options = {
        "r": 4,
        "target_modules": list(FAMILIES[family].targets),
        "bias": "all",
        "modules_to_save": [FAMILIES[family].head],
        "init_lora_weights": init,
    }
    assert torch.equal(logits(wrap_ours(base, options)), before)


def test_at_step_0_only_b_has_a_gradient(family):
    """h = W0 x + s B A x with B = 0: dL/dA = s B^T (...) = 0, dL/dB = s (...) (A x)^T is not."""
    model = wrap_ours(build(family), {"r": 2, "target_modules": list(FAMILIES[family].targets)})
    logits(model).pow(2).mean().backward()
    for name, values in trained_by_us(model).items():
        assert values.grad is not None, name
        assert bool(values.grad.any()) == ("lora_B" in name), name


def test_only_the_adapter_has_gradients(family):
    model = wrap_ours(build(family), {"r": 2, "target_modules": list(FAMILIES[family].targets)})
    logits(model).sum().backward()
    for name, values in model.named_parameters():
        assert (values.grad is not None) == ("lora_" in name), name
