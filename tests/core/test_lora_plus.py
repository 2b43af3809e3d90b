"""LoRA+ beside peft's create_loraplus_optimizer: the same groups, and the same step."""

import pytest
import torch
from peft.optimizers import create_loraplus_optimizer as peft_s

import minipeft
from tests.closeness import assert_all_close

from .models import FAMILIES, toy
from .peers import gradients, twins, wrap_ours
from .snapshots import assert_says

CASES = {
    "plain": {},
    "dora": {"use_dora": True},
    "biases and a head": {"bias": "all", "modules_to_save": True},
}
RATES = {"lr": 1e-3, "loraplus_lr_ratio": 16, "loraplus_weight_decay": 0.1}


@pytest.mark.parametrize("case", CASES)
def test_groups_and_a_step_are_peft_s(family, case):
    options = {"r": 2, "target_modules": list(FAMILIES[family].targets)} | CASES[case]
    if "modules_to_save" in options:
        options["modules_to_save"] = [FAMILIES[family].head]
    pair = twins(family, options)
    ours = minipeft.create_loraplus_optimizer(pair.ours, torch.optim.AdamW, **RATES)
    theirs = peft_s(pair.theirs, torch.optim.AdamW, **RATES)

    def described(optimizer, trained) -> list[tuple[float, float, list[str]]]:
        names = {id(value): name for name, value in trained.items()}
        return sorted(
            (group["lr"], group["weight_decay"], sorted(names[id(p)] for p in group["params"]))
            for group in optimizer.param_groups
            if group["params"]
        )

    trained = pair.trained()
    assert described(ours, trained[0]) == described(theirs, trained[1])
    for optimizer, model, values in zip(
        (ours, theirs), (pair.ours, pair.theirs), trained, strict=True
    ):
        gradients(model, values)
        optimizer.step()
    assert_all_close(*trained, rtol=1e-8)  # AdamW magnifies the noise of a gradient that is 0


@pytest.mark.parametrize("name, value", [("lr", 0), ("lr", "fast"), ("loraplus_lr_ratio", -1)])
def test_rates_that_make_no_sense(name, value):
    model = wrap_ours(toy(), {"r": 2, "target_modules": ["first"]})
    with pytest.raises(ValueError) as error:
        minipeft.create_loraplus_optimizer(model, torch.optim.AdamW, **RATES | {name: value})
    assert_says(error, name, repr(value))


def test_a_model_without_lora():
    with pytest.raises(ValueError, match="trains no lora_B"):
        minipeft.create_loraplus_optimizer(toy(), torch.optim.AdamW, **RATES)
