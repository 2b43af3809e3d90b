"""All methods as adapters of one base: any order of switching, and nothing that grows."""

import gc

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minipeft

from .every_method import MAKERS, adapted, config_for, trained
from .models import build, logits
from .peers import copy_values, scramble

names = st.lists(st.sampled_from(sorted(MAKERS)), min_size=1, max_size=6)


@settings(max_examples=8, deadline=None)
@given(order=names)
def test_any_order_of_switching_between_methods(order):
    """All methods on one base: each answers as if it were alone, and no flag ever changes."""
    model, answers = all_on_one()
    flags = {name: flags_of(model, name) for name in model.adapters}
    for method in order:
        model.set_adapter(key(method))
        assert torch.equal(logits(model), answers[method]), method
    for name in model.adapters:
        assert flags_of(model, name) == flags[name]


def key(method: str) -> str:
    """A method's name as an adapter's name."""
    return method.replace(" ", "_")


def flags_of(model, name: str) -> list[bool]:
    return [value.requires_grad for _, value in model.adapters[name].named_parameters()]


_BUILT: list = []


def all_on_one() -> tuple[minipeft.PeftModel, dict[str, torch.Tensor]]:
    """Every method on one GPT-2, built once, and what each answers."""
    if not _BUILT:
        first, *others = MAKERS
        base = build("gpt2")
        model = minipeft.get_peft_model(base, config_for(first, "gpt2"), key(first)).eval()
        for method in others:
            model.add_adapter(key(method), config_for(method, "gpt2"))
        answers = {}
        for method in MAKERS:
            model.set_adapter(key(method))
            scramble(trained(model))
            alone = adapted(method, "gpt2")
            values = dict(model.adapters[key(method)].named_parameters())
            copy_values(values, dict(alone.adapters["default"].named_parameters()))
            answers[method] = logits(model).detach()
            assert torch.equal(logits(alone), answers[method]), method
        _BUILT.append((model, answers))
    return _BUILT[0]


def test_switching_leaves_nothing_behind():
    """After each method had its turn twice there are as many tensors and hooks as after once."""
    model, _ = all_on_one()

    def turn() -> tuple[int, int]:
        for method in MAKERS:
            model.set_adapter(key(method))
            with torch.no_grad():
                logits(model)
        gc.collect()
        tensors = sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())
        return tensors, len(model.base_model._forward_pre_hooks)

    turn()
    assert turn() == turn()
