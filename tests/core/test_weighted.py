"""Weighted sums of LoRA adapters, against peft and against the sum of the dense updates."""

import peft
import pytest
import torch

import minipeft
from tests.closeness import RTOL, assert_close

from .models import FAMILIES, build
from .peers import copy_values, quiet, scramble, trained_by_peft, trained_by_us
from .snapshots import assert_says, unchanged

RANKS = {"one": 2, "two": 5}
WEIGHTS = [0.7, -0.4]


def options(family: str, name: str, ranks: dict[str, int] = RANKS) -> dict:
    targets = list(FAMILIES[family].targets)
    chosen = {"one": targets[:2], "two": targets[1:]}[name]
    return {"r": ranks[name], "lora_alpha": 3, "target_modules": chosen}


def ours_with(family: str, ranks: dict[str, int]) -> minipeft.PeftModel:
    config = minipeft.LoraConfig(**options(family, "one", ranks))
    model = minipeft.get_peft_model(build(family, torch.float64), config, "one")
    model.add_adapter("two", minipeft.LoraConfig(**options(family, "two", ranks)))
    for seed, name in enumerate(RANKS):
        model.set_adapter(name)
        scramble(trained_by_us(model), seed)
    return model


def updates(model: minipeft.PeftModel, name: str) -> dict[str, torch.Tensor]:
    """dW of each adapted layer, dense: (out, in)."""
    pairs = {path: tuner.factors() for path, tuner in model.adapters[name].tuners.items()}
    return {path: (B @ A).detach() for path, (A, B) in pairs.items()}


@pytest.mark.parametrize("combination", ["cat", "svd", "linear"])
def test_equal_to_peft(family, combination):
    ranks = {"one": 3, "two": 3} if combination == "linear" else RANKS
    ours = ours_with(family, ranks)
    with quiet():
        config = peft.LoraConfig(**options(family, "one", ranks))
        theirs = peft.get_peft_model(build(family, torch.float64), config, "one")
        theirs.add_adapter("two", peft.LoraConfig(**options(family, "two", ranks)))
        for name in RANKS:
            ours.set_adapter(name)
            theirs.set_adapter(name)
            copy_values(trained_by_us(ours), trained_by_peft(theirs, name))
        arguments = (list(RANKS), WEIGHTS, "sum")
        theirs.add_weighted_adapter(*arguments, combination_type=combination)
        theirs.set_adapter("sum")
    ours.add_weighted_adapter(*arguments, combination_type=combination)
    mine = updates(ours, "sum")
    layers = {n.removeprefix("base_model.model."): m for n, m in theirs.named_modules()}
    assert mine
    for path, update in mine.items():
        other = layers[path].get_delta_weight("sum").detach()
        other = other.T if getattr(layers[path], "fan_in_fan_out", False) else other
        assert_close(update, other, path, rtol=RTOL[torch.float32])  # peft weighs in 32 bits


def test_cat_is_exact_and_svd_is_the_best_of_its_rank(family):
    model = ours_with(family, RANKS)
    one, two = updates(model, "one"), updates(model, "two")
    model.add_weighted_adapter(["one", "two"], WEIGHTS, "cat", combination_type="cat")
    model.add_weighted_adapter(["one", "two"], WEIGHTS, "svd", svd_rank=2)
    for path, update in updates(model, "cat").items():
        zero = torch.zeros_like(update)
        exact = WEIGHTS[0] * one.get(path, zero) + WEIGHTS[1] * two.get(path, zero)
        assert_close(update, exact, path)
        left_over = torch.linalg.svdvals(exact)[2:].square().sum().sqrt()  # Eckart and Young
        near = (updates(model, "svd")[path] - exact).norm()
        assert abs(near - left_over) <= RTOL[torch.float64] * exact.norm(), path


def test_the_sum_is_an_adapter_like_any_other(tmp_path):
    model = ours_with("llama", RANKS)
    model.add_weighted_adapter(["one", "two"], [1.0, 1.0], "sum", combination_type="cat")
    assert not any(p.requires_grad for _, p in model.adapters["sum"].named_parameters())
    model.set_adapter("sum")
    expected = model(torch.arange(5)[None]).logits
    model.save_pretrained(tmp_path, selected_adapters=["sum"])
    again = minipeft.PeftModel.from_pretrained(build("llama", torch.float64), tmp_path / "sum")
    assert_close(again(torch.arange(5)[None]).logits, expected)
    model.merge_adapter()
    assert_close(model(torch.arange(5)[None]).logits, expected)


@pytest.mark.parametrize("arguments, words", [
    ((["one", "tow"], [1, 1], "sum"), ("'tow'", "'two'")),
    ((["one"], [1, 1], "sum"), ("2 weights for 1 adapters",)),
    ((["one", "two"], [1, float("nan")], "sum"), ("weights=nan",)),
    ((["one", "two"], [1, 1], "one"), ("'one' already",)),
])  # fmt: skip
def test_bad_arguments(arguments, words):
    model = ours_with("llama", RANKS)
    with unchanged(model), pytest.raises(ValueError) as error:
        model.add_weighted_adapter(*arguments)
    assert_says(error, *words)


@pytest.mark.parametrize("settings, words", [
    ({"combination_type": "ties"}, ("'ties'", "'cat'")),
    ({"combination_type": "linear"}, ("equal ranks", "'svd'")),
    ({"combination_type": "cat", "svd_rank": 3}, ("svd_rank=3", "'svd'")),
])  # fmt: skip
def test_bad_settings(settings, words):
    model = ours_with("llama", RANKS)
    with unchanged(model), pytest.raises(ValueError) as error:
        model.add_weighted_adapter(["one", "two"], [1, 1], "sum", **settings)
    assert_says(error, *words)


def test_what_is_more_than_lora_is_refused():
    model = ours_with("llama", RANKS)
    config = minipeft.LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"])
    model.add_adapter("head", config)
    with unchanged(model), pytest.raises(ValueError) as error:
        model.add_weighted_adapter(["one", "head"], [1, 1], "sum")
    assert_says(error, "'head'", "more than low-rank A and B")
