"""AdaLoRA's training, step by step beside peft's: the same ranks survive, the weights are equal."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import minipeft
from tests.closeness import assert_close

from .models import FAMILIES, TOKENS, VOCABULARY, build, logits, toy
from .peers import Twins, quiet, twins, wrap_ours
from .snapshots import assert_says, unchanged

SCHEDULE = {"init_r": 5, "target_r": 2, "tinit": 2, "tfinal": 3, "total_step": 14}


def ada_twins(family: str, options: dict | None = None, **how) -> Twins:
    """Twins whose rank number is frozen in peft, too.

    AdaLoraLayer.update_layer (peft/tuners/adalora/layer.py) makes `ranknum` a frozen parameter;
    _move_adapter_to_device_of_base_layer (peft/tuners/tuners_utils.py) then casts it to the base's
    dtype and puts the result into a ParameterDict, which wraps it anew: on any base but one in 32
    bits peft 0.21 trains this number, and so the scale.
    """
    targets = list(FAMILIES[family].targets)
    given = SCHEDULE | {"lora_alpha": 7, "target_modules": targets} | (options or {})
    pair = twins(family, given, scrambled=False, config="AdaLoraConfig", **how)
    for name, parameter in pair.theirs.named_parameters():
        if ".ranknum." in name:
            parameter.requires_grad_(False)
    for base in (pair.ours.base_model, pair.theirs.get_base_model()):
        base.loss_function = next_token_loss  # transformers' own leaves float64 for float32
    return pair


def next_token_loss(logits: Tensor, labels: Tensor, **_) -> Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def start_alike(pair: Twins) -> None:
    """peft's own start, A and B ~ N(0, 0.02) and E = 0, in both."""
    ours, theirs = pair.trained()
    for name, parameter in ours.items():
        parameter.data.copy_(theirs[name])


def labelled(family: str, step: int) -> dict[str, Tensor]:
    """Another batch for each step."""
    generator = torch.Generator().manual_seed(step)
    tokens = torch.randint(VOCABULARY, (3, 6), generator=generator)  # (batch, length)
    return {"input_ids": tokens, "labels": tokens[:, 0] % 3 if family == "bert" else tokens}


def adamw(trained: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW([trained[name] for name in sorted(trained)], lr=0.02)


def train_both(family: str, pair: Twins, steps: range) -> None:
    """One AdamW each, the same batches.

    peft's penalty is added by AdaLoraModel.forward (peft/tuners/adalora/model.py). A PeftModel
    without a task_type goes past it, to the base's own forward, and then trains without.
    """
    optimizers = [adamw(trained) for trained in pair.trained()]
    for step in steps:
        data = labelled(family, step)
        ours, theirs = pair.ours(**data).loss, pair.theirs.base_model(**data).loss
        assert_close(ours, theirs, f"loss of step {step}")
        for loss, optimizer, model in zip(
            (ours, theirs), optimizers, (pair.ours, pair.theirs), strict=True
        ):
            loss.backward()
            optimizer.step()
            model.update_and_allocate(step)
            optimizer.zero_grad()
        assert_same_state(pair, step)


def assert_same_state(pair: Twins, step: int) -> None:
    """Every weight, every zero among the singular values, and the pattern of what is kept."""
    ours, theirs = pair.trained()
    assert sorted(ours) == sorted(theirs)
    for name, values in theirs.items():
        assert_close(ours[name].detach(), values.detach(), f"{name} after step {step}")
        if name.endswith("lora_E"):
            assert torch.equal(ours[name] == 0, values == 0), f"{name} after step {step}"
    pattern = pair.theirs.peft_config["default"].rank_pattern
    if pattern is not None:
        pattern = {name.removesuffix(".default"): kept for name, kept in pattern.items()}
    assert pair.ours.peft_config["default"].rank_pattern == pattern


def ranks(model: minipeft.PeftModel) -> list[int]:
    return [tuner.rank for tuner in model.adapters[model.active_adapter].tuners.values()]


@pytest.mark.parametrize("options", [{}, {"deltaT": 3, "beta1": 0.5, "orth_reg_weight": 0.1}])
def test_a_whole_schedule_is_peft_s(family, options):
    """Every rank at first, a falling budget, the last allocation, then a fixed pattern.

    Steps count from 1. One more than total_step shows that the pattern stays, and a second
    schedule that nothing is left of the first one's scores.
    """
    pair = ada_twins(family, options)
    start_alike(pair)
    train_both(family, pair, range(1, 3))
    assert set(ranks(pair.ours)) == {5}
    train_both(family, pair, range(3, 8))
    assert sum(ranks(pair.ours)) < 5 * len(ranks(pair.ours))
    train_both(family, pair, range(8, 16))
    assert sum(ranks(pair.ours)) == 2 * len(ranks(pair.ours))
    assert len(set(ranks(pair.ours))) > 1  # they differ: that is the point of it
    train_both(family, pair, range(1, 5))


def test_equal_ranks_at_both_ends_leave_everything():
    """peft's mask_to_budget then asks torch.kthvalue for the 0th value, and that raises."""
    model, data = trained_toy(init_r=2, target_r=2), TOKENS
    step(model, data, 1)
    assert ranks(model) == [2, 2]
    pair = ada_twins("bert", {"init_r": 2, "tinit": 0})
    with quiet(), pytest.raises((RuntimeError, IndexError), match="selected"):
        pair.theirs(**labelled("bert", 1)).loss.backward()
        pair.theirs.update_and_allocate(1)


def trained_toy(**options) -> minipeft.PeftModel:
    given = {"target_modules": ["first", "second"], "init_r": 4, "target_r": 2, "total_step": 6}
    model = wrap_ours(toy(), given | options, config="AdaLoraConfig")
    torch.manual_seed(0)
    for tuner in model.adapters["default"].tuners.values():
        nn.init.normal_(tuner.lora_E)
    return model


def step(model: minipeft.PeftModel, tokens: Tensor, number: int) -> None:
    model.zero_grad()
    (model(tokens).square().mean() + model.penalty()).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter -= 0.1 * parameter.grad
    model.update_and_allocate(number)


def test_the_budget_falls_with_the_third_power():
    """16 triplets until step 1, then fewer with each step, and 4 from step 10 on."""
    model = trained_toy(init_r=8, target_r=2, tinit=1, tfinal=2, total_step=12)
    seen = []
    for number in range(1, 13):
        step(model, TOKENS, number)
        seen.append(sum(ranks(model)))
    falling = [int(12 * (1 - t / 9) ** 3 + 4) for t in range(1, 10)]
    assert seen == [16, *falling, 4, 4]
    kept = [
        tuner.lora_E.count_nonzero().item() for tuner in model.adapters["default"].tuners.values()
    ]
    assert kept == ranks(model)


def test_a_layer_without_a_part_in_the_step_counts_as_unimportant():
    """Experts that no token was sent to have no gradient; peft fails there."""
    model = trained_toy()
    model.adapters["default"].tuners["first"].requires_grad_(False)
    for number in range(1, 7):
        step(model, TOKENS, number)
    assert ranks(model) == [0, 4]


def test_a_file_from_the_middle_goes_on_falling(tmp_path):
    """peft can't: its allocator still counts the triplets that the file no longer has."""
    model = trained_toy(init_r=6, target_r=1, total_step=4)
    step(model, TOKENS, 1)
    step(model, TOKENS, 2)
    model.save_pretrained(tmp_path)
    again = minipeft.PeftModel.from_pretrained(toy(), tmp_path, is_trainable=True)
    assert_close(again(TOKENS), model(TOKENS), "opened again")
    assert ranks(again) == ranks(model) and sum(ranks(again)) < 12
    for number in range(1, 5):
        before = sum(ranks(again))
        step(again, TOKENS, number)
        assert 2 <= sum(ranks(again)) <= before
    assert sum(ranks(again)) == 2
    pattern = again.peft_config["default"].rank_pattern
    assert [len(kept) for kept in pattern.values()] == [6, 6]
    first = model.peft_config["default"].rank_pattern
    for name, kept in pattern.items():  # nothing is there again that was gone
        assert all(was or not now for was, now in zip(first[name], kept, strict=True))
    again.save_pretrained(tmp_path)
    final = minipeft.PeftModel.from_pretrained(toy(), tmp_path)
    assert_close(final(TOKENS), again(TOKENS), "the last file")


def test_misuse_is_said_and_changes_nothing():
    model = trained_toy()
    with unchanged(model), pytest.raises(RuntimeError) as error:
        model.update_and_allocate(1)
    assert_says(error, "no gradient at step 1", "after backward()", "before zero_grad()")
    with unchanged(model), pytest.raises(RuntimeError) as error:
        model.update_and_allocate(6)
    assert_says(error, "after every step")


def test_the_penalty_is_zero_for_orthonormal_vectors_and_peft_s_otherwise(family):
    pair = ada_twins(family)
    start_alike(pair)
    data = labelled(family, 0)
    task = pair.ours.base_model(**data).loss
    assert_close(task + pair.ours.penalty(), pair.theirs.base_model(**data).loss)
    assert_close(pair.ours(**data).loss, pair.theirs.base_model(**data).loss)
    for tuner in pair.ours.adapters["default"].tuners.values():
        nn.init.orthogonal_(tuner.lora_A)
        nn.init.orthogonal_(tuner.lora_B)
    penalty = pair.ours.penalty()
    assert penalty < 1e-12
    penalty.backward()
    assert all(math.isfinite(p.grad.sum()) for p in pair.ours.parameters() if p.grad is not None)
    assert logits(pair.ours).equal(logits(build(family, torch.float64)))
