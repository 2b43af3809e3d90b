"""Prompt tuning, P-tuning and prefix tuning: PyTorch modules like any other."""

import copy
import pickle

import pytest
import torch

from .models import batch, build, logits
from .peers import (
    assert_equal,
    gradients,
    scramble,
    trained_by_us,
    wrap_ours,
)
from .prompts import (
    CASES,
    KINDS,
    options_of,
    own_llama,
    own_prompt,
    prompt_twins,
    scrambled,
)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_copies_answer_alike_and_share_nothing(case, duplicate):
    model = scrambled("gpt2", case)
    answer, twin = logits(model), duplicate(model)
    assert torch.equal(logits(twin), answer)
    scramble(trained_by_us(twin))
    assert not torch.equal(logits(twin), answer)
    base = twin.unload()
    assert not base._forward_pre_hooks and "prompt_encoder" not in base._modules
    assert torch.equal(logits(base), logits(build("gpt2", torch.float64)))
    assert torch.equal(logits(model), answer)


@pytest.mark.parametrize("case", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_half_precision_base_trains_an_fp32_prompt(family, case, dtype):
    model = scrambled(family, case, dtype)
    trained = dict(model.base_model.prompt_encoder.named_parameters())
    assert {values.dtype for values in trained.values()} == {torch.float32}
    answer = logits(model)
    assert answer.dtype == dtype
    answer.float().pow(2).mean().backward()
    assert all(values.grad.isfinite().all() and values.grad.any() for values in trained.values())


@pytest.mark.parametrize("case", KINDS)
def test_autocast_is_peft_s(family, case):
    pair = prompt_twins(family, case, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = pair.answers()
    assert_equal(ours, theirs, 0.0, "autocast")
    own = wrap_ours(own_llama(torch.float32), options_of("llama", case), config=CASES[case][0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        own(**batch()).sum().backward()
    assert all(values.grad.isfinite().all() for values in trained_by_us(own).values())


@pytest.mark.parametrize("case", ["prompt", "prefix", "p-tuning mlp"])
def test_compiles_without_a_graph_break(case):
    model = scrambled("llama", case) if case == "prefix" else own_prompt(case)[0]
    answer, plain = (
        torch.compile(model, backend="eager", fullgraph=True)(**batch()),
        model(**batch()),
    )
    assert_equal(getattr(answer, "logits", answer), getattr(plain, "logits", plain), 1e-10)


def test_compiles_around_an_lstm():
    """torch.compile leaves it to PyTorch's own kernel."""
    model = own_prompt("p-tuning lstm")[0]
    assert_equal(torch.compile(model, backend="eager")(**batch()), model(**batch()), 1e-10)


@pytest.mark.parametrize("case", ["prompt", "p-tuning lstm"])
def test_gradient_checkpointing_of_transformers(family, case):
    model = scrambled(family, case).train()
    trained = trained_by_us(model)
    plain = {name: gradient.clone() for name, gradient in gradients(model, trained).items()}
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for name, gradient in gradients(model, trained).items():
        assert_equal(gradient, plain[name], 1e-12, name)


@pytest.mark.parametrize("case", CASES)
def test_gradient_checkpointing_of_our_own_llama(case):
    model = own_prompt(case)[0].train()
    trained = trained_by_us(model)
    model(**batch()).pow(2).mean().backward()
    plain = {name: values.grad.clone() for name, values in trained.items()}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(**batch()).pow(2).mean().backward()
    for name, values in trained.items():
        assert_equal(values.grad, plain[name], 1e-12, name)


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_on_a_gpu(family, case, dtype):
    """The prompt follows the model, and answers as on a CPU; autocast and training work there."""
    model = scrambled(family, case, dtype)
    answer = logits(model)
    model.to("cuda")
    inputs = {name: values.cuda() for name, values in batch().items()}
    tolerance = 1e-9 if dtype == torch.float64 else 0.2
    assert_equal(model(**inputs).logits.cpu(), answer, tolerance, "on the GPU")
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        model.train()(**inputs).logits.float().pow(2).mean().backward()
    trained = model.base_model.prompt_encoder.parameters()
    assert all(values.grad.isfinite().all() and values.grad.any() for values in trained)
