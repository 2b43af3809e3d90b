"""Prompt tuning, P-tuning and prefix tuning: PyTorch modules like any other."""

import copy
import pickle

import pytest
import torch

from tests.closeness import RTOL, assert_all_close, assert_close

from .models import batch, build, logits
from .peers import gradients, scramble, trained_by_us, wrap_ours
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
    if "lstm" in case:
        skip_without_a_16_bit_lstm()
    pair = prompt_twins(family, case, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = pair.answers()
    assert_close(ours, theirs, "autocast", rtol=0.0)


def skip_without_a_16_bit_lstm():
    """peft's encoder needs one; not every processor's torch has one."""
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.nn.LSTM(2, 2)(torch.zeros(1, 2))
    except RuntimeError as error:
        pytest.skip(f"torch has no bfloat16 LSTM for this processor: {error}")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_trains_on_any_processor(case, dtype):
    """torch has no float16 LSTM for most processors, and no bfloat16 LSTM for many."""
    model = wrap_ours(own_llama(torch.float32), options_of("llama", case), config=CASES[case][0])
    wide = model(**batch()).detach()
    with torch.autocast("cpu", dtype=dtype):
        narrow = model(**batch())
        narrow.float().pow(2).mean().backward()
    assert_close(narrow.float(), wide, rtol=RTOL[torch.bfloat16])
    assert all(values.grad.isfinite().all() for values in trained_by_us(model).values())
    assert all(values.grad.any() for values in trained_by_us(model).values())


@pytest.mark.slow
@pytest.mark.parametrize("case", ["prompt", "prefix", "p-tuning mlp"])
def test_compiles_without_a_graph_break(case):
    model = scrambled("llama", case) if case == "prefix" else own_prompt(case)[0]
    answer, plain = (
        torch.compile(model, backend="eager", fullgraph=True)(**batch()),
        model(**batch()),
    )
    assert_close(getattr(answer, "logits", answer), getattr(plain, "logits", plain))


@pytest.mark.slow
def test_compiles_around_an_lstm():
    """torch.compile leaves it to PyTorch's own kernel, where that has one for autocast, too."""
    model = own_prompt("p-tuning lstm")[0]
    compiled = torch.compile(model, backend="eager")
    assert_close(compiled(**batch()), model(**batch()))
    model.float()
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            assert_close(compiled(**batch()), model(**batch()))


@pytest.mark.parametrize("case", ["prompt", "p-tuning lstm"])
def test_gradient_checkpointing_of_transformers(family, case):
    model = scrambled(family, case).train()
    trained = trained_by_us(model)
    plain = {name: gradient.clone() for name, gradient in gradients(model, trained).items()}
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert_all_close(gradients(model, trained), plain)


@pytest.mark.parametrize("case", CASES)
def test_gradient_checkpointing_of_our_own_llama(case):
    model = own_prompt(case)[0].train()
    trained = trained_by_us(model)
    model(**batch()).pow(2).mean().backward()
    plain = {name: values.grad.clone() for name, values in trained.items()}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(**batch()).pow(2).mean().backward()
    assert_all_close({name: values.grad for name, values in trained.items()}, plain)


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_on_a_gpu(family, case, dtype):
    """The prompt follows the model, and answers as on a CPU; autocast and training work there."""
    model = scrambled(family, case, dtype)
    answer = logits(model)
    model.to("cuda")
    inputs = {name: values.cuda() for name, values in batch().items()}
    assert_close(model(**inputs).logits.cpu(), answer, "on the GPU")
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        model.train()(**inputs).logits.float().pow(2).mean().backward()
    trained = model.base_model.prompt_encoder.parameters()
    assert all(values.grad.isfinite().all() and values.grad.any() for values in trained)
