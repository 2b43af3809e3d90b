"""What must hold for every method, on every family that it works on."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minipeft
from minipeft.core.layer import NotMergeable
from tests.closeness import assert_all_close, assert_close

from .every_method import APART, AWAY, CASES, MAKERS, adapted, config_for, trained
from .models import batch, build, logits
from .peers import gradients, scramble
from .snapshots import assert_unchanged, take, unchanged

every = pytest.mark.parametrize("method, family", CASES, ids=lambda value: value)
merging = pytest.mark.parametrize(
    "method, family", [case for case in CASES if case[0] not in APART], ids=lambda value: value
)


@every
def test_attaching_and_detaching_leaves_the_base_as_it_was(method, family):
    base = build(family)
    before, bare = take(base), logits(base)
    model = minipeft.get_peft_model(base, config_for(method, family)).eval()
    scramble(trained(model))
    assert not torch.equal(logits(model), bare)
    with model.disable_adapter():
        assert torch.equal(logits(base), bare)
    assert model.unload() is base
    assert_unchanged(base, before)
    assert torch.equal(logits(base), bare)


@every
def test_the_start_is_the_base(method, family):
    model = adapted(method, family, scrambled=False)
    bare = logits(build(family))
    if method not in AWAY:
        assert torch.equal(logits(model), bare)
    else:
        assert not torch.equal(logits(model)[:, -7:], bare)


@merging
def test_merged_is_unmerged_and_comes_back_exactly(method, family):
    model = adapted(method, family)
    before, answer = take(model), logits(model)
    errors = model.merge_adapter()
    assert_close(logits(model), answer)
    assert all(error == 0 for error in errors.values())  # in 32 bits nothing is rounded
    model.unmerge_adapter()
    assert_unchanged(model, before)
    assert torch.equal(logits(model), answer)
    released = model.merge_and_unload()
    assert_close(logits(released), answer)
    assert not any(isinstance(module, minipeft.AdaptedLinear) for module in released.modules())


@pytest.mark.parametrize("method", APART)
def test_what_cannot_be_merged_says_why(method):
    model = adapted(method, "gpt2")
    for merge in (model.merge_adapter, model.merge_and_unload):
        with unchanged(model), pytest.raises(NotMergeable) as error:
            merge()
        assert len(str(error.value)) > 40


@every
def test_the_count_is_what_trains(method, family):
    """What changes in a step of SGD, counted number by number, is what is reported."""
    model = adapted(method, family, torch.float64)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    reported, _ = model.get_nb_trainable_parameters()
    assert reported == sum(value.numel() for value in trained(model).values())
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    gradients(model, trained(model))
    optimizer.step()
    for name, value in model.named_parameters():
        if not value.requires_grad:
            assert torch.equal(value, before[name]), name
    moved = sum(value.grad is not None for value in trained(model).values())
    assert moved >= 0.8 * len(trained(model))  # some biases are never read


@every
def test_files_bring_it_back(method, family, tmp_path):
    model = adapted(method, family)
    model.save_pretrained(tmp_path)
    again = minipeft.PeftModel.from_pretrained(build(family), tmp_path)
    assert torch.equal(logits(again), logits(model))
    assert not trained(again)
    model.add_adapter("second", config_for(method, family))
    model.load_adapter(tmp_path, "third")
    model.set_adapter("third")
    assert torch.equal(logits(again), logits(model))


@every
def test_copies_are_whole(method, family):
    model = adapted(method, family)
    answer = logits(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(logits(twin), answer)
        scramble(trained(twin), seed=5)
        assert not torch.equal(logits(twin), answer)
        assert torch.equal(logits(twin.unload()), logits(build(family)))
    assert torch.equal(logits(model), answer)


@every
def test_gradient_checkpointing_gives_the_same_gradients(method, family):
    """Non-reentrant: no trained input is needed, and nothing that is trained goes without."""
    model = adapted(method, family, torch.float64).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    torch.manual_seed(3)
    plain = {name: g for name, g in gradients(model, trained(model)).items() if g is not None}
    plain = {name: gradient.clone() for name, gradient in plain.items()}
    model.base_model.gradient_checkpointing_enable({"use_reentrant": False})
    if method == "prefix":
        with pytest.raises(RuntimeError, match="checkpointing"):
            logits(model)  # transformers would drop the cache without a word
        return
    torch.manual_seed(3)
    again = gradients(model, trained(model))
    assert_all_close(again, plain)


@every
def test_bfloat16_autocast_stays_near(method, family):
    model = adapted(method, family)
    wide = logits(model).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = logits(model)
    narrow.float().pow(2).mean().backward()
    for name, value in trained(model).items():
        assert value.grad is None or value.grad.isfinite().all(), name
    far = (narrow.float() - wide).norm() / wide.norm()
    assert far < 0.1, far


@pytest.mark.gpu
@every
def test_a_gpu_gives_the_processor_s_numbers(method, family):
    """The model moves with its adapter; outputs and gradients are the same to rounding."""
    model = adapted(method, family, torch.float64)
    answer, expected = logits(model).detach(), gradients(model, trained(model))
    expected = {name: value.clone() for name, value in expected.items() if value is not None}
    model.cuda().zero_grad()
    inputs = {name: value.cuda() for name, value in batch().items()}
    found = model(**inputs).logits
    assert_close(found.cpu().detach(), answer, method)
    found.pow(2).mean().add(found.sin().mean()).backward()
    for name, value in trained(model).items():
        if name in expected:
            assert_close(value.grad.cpu(), expected[name], name)
    assert_close(logits(model.cpu()).detach(), answer, "back again")


@pytest.mark.slow
@pytest.mark.parametrize("method", MAKERS)
def test_it_compiles(method, monkeypatch):
    """backend="eager" traces as any does, and needs no C++ compiler; one block says it all."""
    monkeypatch.setattr("tests.core.models.LAYERS", 1)
    model = adapted(method, "gpt2", torch.float64)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        assert_close(compiled(**batch()).logits, logits(model), method)


@settings(max_examples=10, deadline=None)
@given(
    case=st.sampled_from([case for case in CASES if case[0] not in APART]),
    seed=st.integers(0, 2**16),
    scale=st.sampled_from([1e-4, 1.0, 30.0]),
)
def test_merging_for_any_values(case, seed, scale):
    """Whatever was learned, large or small: merged equals unmerged, and unmerge is exact."""
    model = adapted(*case, torch.float64)
    with torch.no_grad():
        for value in trained(model).values():
            value.mul_(scale)
    scramble(trained(model), seed)
    before, answer = take(model), logits(model)
    model.merge_adapter()
    assert_close(logits(model), answer, str(case))
    model.unmerge_adapter()
    assert_unchanged(model, before)
