"""LoftQ's start: against its definition, and what it does to a model's adapter."""

import pytest
import torch
from peft.utils.loftq_utils import _low_rank_decomposition

from minipeft import LoraConfig, dequantize_nf4, get_peft_model, quantize_model, quantize_nf4
from minipeft.course.base import load_base
from minipeft.course.lessons.loftq import loftq, start_by_loftq


@pytest.fixture
def weight():
    return torch.randn(48, 64, generator=torch.manual_seed(0))


def left(weight, r, iterations):
    Q, A, B = loftq(weight, r, iterations)
    return (weight - Q - B @ A).norm()


def test_one_iteration_is_nf4_and_pefts_factors_of_the_error(weight):
    Q, A, B = loftq(weight, r=5)
    assert torch.equal(Q, dequantize_nf4(quantize_nf4(weight, double_quant=True)))
    theirs = _low_rank_decomposition(weight - Q, reduced_rank=5)
    torch.testing.assert_close(B @ A, theirs["L"] @ theirs["R"], rtol=1e-3, atol=1e-4)
    assert A.shape == (5, 64) and B.shape == (48, 5)


def test_the_error_is_what_the_svd_leaves(weight):
    """Eckart and Young: the norm of the singular values that are cut off."""
    Q, _, _ = loftq(weight, r=5)
    cut = torch.linalg.svdvals(weight - Q)[5:].norm()
    torch.testing.assert_close(left(weight, 5, 1), cut, rtol=1e-4, atol=0)
    assert left(weight, 5, 3) < left(weight, 5, 1) < (weight - Q).norm()
    assert left(weight, 48, 1) < 1e-4


def test_a_models_adapter_starts_from_the_error():
    base, _ = load_base()
    path = "model.layers.2.mlp.up_proj"
    W0 = base.get_submodule(path).weight.detach().clone()
    config = LoraConfig(r=8, lora_alpha=16, target_modules=[path])
    model = get_peft_model(quantize_model(base), config)
    start_by_loftq(model, {path: W0})
    layer = model.get_base_model().get_submodule(path)
    Q, A, B = loftq(W0, 8)
    torch.testing.assert_close(layer.merged_tensors()[0], Q + B @ A)
