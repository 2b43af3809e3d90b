"""Several adapters by name, one in force: switching moves references and nothing else."""

import pytest
import torch

import minipeft

from .models import FAMILIES, TOKENS, build, logits, toy
from .peers import scramble, trained_by_us, wrap_ours
from .snapshots import assert_unchanged, take, unchanged

ONE = {"r": 2, "target_modules": ["first"], "bias": "lora_only"}
TWO = {"r": 3, "target_modules": ["first", "second"], "modules_to_save": ["norm"]}


def two_adapters() -> minipeft.PeftModel:
    """Adapters "one" (in force) and "two", both with non-zero values."""
    model = wrap_ours(toy(), ONE, "one")
    model.add_adapter("two", minipeft.LoraConfig(**TWO))
    for name in ("two", "one"):
        model.set_adapter(name)
        scramble(trained_by_us(model))
    return model


def test_switching_while_disabled_waits_for_the_end_of_the_block():
    model = two_adapters()
    model.set_adapter("two")
    expected = model(TOKENS)
    model.set_adapter("one")
    with model.disable_adapter():
        model.set_adapter("two")
        assert torch.equal(model(TOKENS), toy()(TOKENS))
    assert torch.equal(model(TOKENS), expected)


def flags(model: minipeft.PeftModel) -> dict:
    return {
        (adapter, name): values.requires_grad
        for adapter in model.adapters
        for name, values in model.adapters[adapter].named_parameters()
    }


def test_a_new_adapter_is_not_put_in_force():
    model = wrap_ours(toy(), ONE, "one")
    scramble(trained_by_us(model))
    before = model(TOKENS)
    model.add_adapter("two", minipeft.LoraConfig(**TWO))
    assert model.active_adapter == "one"
    assert torch.equal(model(TOKENS), before)
    assert list(model.peft_config) == list(model.adapters) == ["one", "two"]
    model.set_adapter("two")
    assert torch.equal(model(TOKENS), toy()(TOKENS))  # step 0 of the new one: the base


def test_switching_there_and_back(family):
    """Each adapter answers as if it were alone; back on the first, nothing has moved."""
    targets = list(FAMILIES[family].targets)
    options = {
        "one": {"r": 2, "target_modules": targets[:2], "bias": "all"},
        "two": {"r": 3, "target_modules": targets[1:], "modules_to_save": [FAMILIES[family].head]},
    }
    model = wrap_ours(build(family), options["one"], "one")
    model.add_adapter("two", minipeft.LoraConfig(**options["two"]))
    answers = {}
    for name in ("two", "one"):
        model.set_adapter(name)
        scramble(trained_by_us(model))
        answers[name] = logits(model)
    before = take(model)
    model.set_adapter("two")
    assert torch.equal(logits(model), answers["two"])
    model.set_adapter("one")
    assert torch.equal(logits(model), answers["one"])
    assert_unchanged(model, before)
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(build(family)))


def test_switching_changes_no_requires_grad():
    """peft's set_adapter makes the new one trainable and the old one frozen; ours leaves flags."""
    model = two_adapters()
    next(iter(model.adapters["one"].named_parameters()))[1].requires_grad_(False)
    before = flags(model)
    assert sum(before.values()) == len(before) - 1
    for name in ("two", "one", "two", "two", "one"):
        model.set_adapter(name)
        assert flags(model) == before
        assert not any(values.requires_grad for values in base_parameters(model))


def base_parameters(model: minipeft.PeftModel) -> list[torch.Tensor]:
    with model.disable_adapter():
        return list(model.base_model.parameters())


def test_parameters_are_the_base_s_and_those_of_the_adapter_in_force():
    model = two_adapters()
    for name in ("one", "two"):
        model.set_adapter(name)
        mine = {id(values) for _, values in model.adapters[name].named_parameters()}
        other = {"one": "two", "two": "one"}[name]
        others = {id(values) for _, values in model.adapters[other].named_parameters()}
        listed = {id(values) for values in model.parameters()}
        assert mine <= listed
        assert not others & listed
        trained = {id(values) for values in model.parameters() if values.requires_grad}
        assert trained == mine


def test_training_one_adapter_leaves_the_other_alone():
    model = two_adapters()
    before = {n: v.clone() for n, v in model.adapters["two"].named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    model(TOKENS).pow(2).mean().backward()
    optimizer.step()
    for name, values in model.adapters["two"].named_parameters():
        assert torch.equal(values, before[name])
        assert values.grad is None


def test_counts_follow_the_adapter_in_force():
    """Unlike peft, which counts adapters that are not in force among "all params"."""
    model, alone = two_adapters(), wrap_ours(toy(), TWO, "two")
    model.set_adapter("two")
    assert model.get_nb_trainable_parameters() == alone.get_nb_trainable_parameters()


def test_deleting_an_adapter():
    model = two_adapters()
    with unchanged(model.base_model):
        model.delete_adapter("two")
    assert list(model.adapters) == ["one"]
    with pytest.raises(ValueError, match="two"):
        model.set_adapter("two")
    model.add_adapter("two", minipeft.LoraConfig(**TWO))  # its name is free again


def test_a_new_adapter_starts_from_the_base_and_not_from_the_one_in_force():
    """Its copies of biases and of saved modules are the base's."""
    model = wrap_ours(toy(), TWO | {"bias": "all"}, "one")
    scramble(trained_by_us(model))
    model.add_adapter("two", minipeft.LoraConfig(**(TWO | {"bias": "all"})))
    model.set_adapter("two")
    assert torch.equal(model(TOKENS), toy()(TOKENS))


def test_adding_an_adapter_while_another_is_merged():
    model = wrap_ours(toy(), ONE, "one")
    scramble(trained_by_us(model))
    model.merge_adapter()
    model.add_adapter("two", minipeft.LoraConfig(**TWO))
    with pytest.warns(UserWarning, match="merged"):
        model.set_adapter("two")
    assert torch.equal(model(TOKENS), toy()(TOKENS))


@pytest.mark.parametrize("mode", [True, False])
def test_train_and_eval_reach_adapters_that_come_later(mode):
    model = wrap_ours(toy(), ONE | {"lora_dropout": 0.5}, "one")
    model.add_adapter("two", minipeft.LoraConfig(**(TWO | {"lora_dropout": 0.5})))
    model.train(mode)
    for name in ("one", "two", "one"):
        model.set_adapter(name)
        assert all(module.training == mode for module in model.modules()), name
        with model.disable_adapter():
            assert all(module.training == mode for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_to_reaches_adapters_that_are_not_in_force(dtype):
    model = two_adapters().to(dtype)
    for name in ("two", "one"):
        model.set_adapter(name)
        assert {values.dtype for values in model.parameters()} == {dtype}
        assert model(TOKENS).dtype == dtype
    with model.disable_adapter():
        expected = toy().to(dtype).state_dict()
        for name, values in model.base_model.state_dict().items():
            assert torch.equal(values, expected[name]), name


def test_conversions_are_applied_once():
    """fp32 -> fp16 -> fp32 rounds every tensor exactly once, wherever it is kept."""
    model = two_adapters()
    before = {
        (adapter, name): values.detach().clone()
        for adapter in model.adapters
        for name, values in model.adapters[adapter].named_parameters()
    }
    model.half().float()
    for adapter in model.adapters:
        for name, values in model.adapters[adapter].named_parameters():
            assert torch.equal(values, before[adapter, name].half().float())
    assert torch.equal(model.unload().first.weight, toy().first.weight.half().float())


def test_requires_grad_flags_survive_a_conversion():
    model = two_adapters()
    before = flags(model)
    model.double()
    assert flags(model) == before
    model(TOKENS).sum().backward()
    assert all(v.grad is not None for v in trained_by_us(model).values())
