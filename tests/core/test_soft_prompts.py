"""Prompt tuning, P-tuning and prefix tuning: equal to peft in numbers, and PyTorch citizens."""

import pytest
import torch

import minipeft
from minipeft.course.lab.train import token_losses
from tests.closeness import RTOL, assert_all_close, assert_close

from .models import batch, build, logits
from .peers import gradients, scramble, trained_by_us
from .prompts import (
    CASES,
    KINDS,
    TASKS,
    N,
    labelled,
    options_of,
    own_prompt,
    prompt_twins,
    scrambled,
)
from .snapshots import unchanged


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_peft_s(family, case):
    """Logits of the virtual tokens too, and the gradient of every trained tensor, encoders' too."""
    pair = prompt_twins(family, case)
    our_trained, their_trained = pair.trained()
    answer, theirs = pair.answers()
    assert_close(answer, theirs, "logits")
    places = answer.shape[1]
    assert family == "bert" or places == batch()["input_ids"].shape[1] + N * ("prefix" not in case)
    with pair.ours.disable_adapter():
        assert (logits(pair.ours) - answer[:, -7:]).abs().max() > 0.1  # the prompt says something
    their_gradients = gradients(pair.theirs, their_trained)
    assert all(gradient.any() for gradient in their_gradients.values())
    assert_all_close(gradients(pair.ours, our_trained), their_gradients)


@pytest.mark.parametrize("case", CASES)
def test_several_steps_of_training_are_peft_s(family, case):
    """The loss with labels (none for virtual tokens) and AdamW, in training mode."""
    pair = prompt_twins(family, case)
    optimizers = [torch.optim.AdamW(side.values(), lr=0.05) for side in pair.trained()]
    for _ in range(4):
        losses = []
        for model, optimizer in zip((pair.ours, pair.theirs), optimizers, strict=True):
            loss = model.train()(**labelled(family)).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        assert_close(*losses, "loss")
    ours, theirs = pair.trained()
    assert_all_close(ours, theirs)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("case", KINDS)
def test_inputs_of_every_form(family, case):
    """Vectors for tokens, no mask, positions, and positional arguments, as with plain tokens."""
    pair = prompt_twins(family, case)
    model, tokens = pair.ours, batch()["input_ids"]
    answer = model(tokens).logits
    assert_close(answer, pair.theirs(tokens).logits, "no mask")
    vectors = model.get_input_embeddings()(tokens)
    assert torch.equal(model(inputs_embeds=vectors).logits, answer)
    everything = torch.ones_like(tokens)
    assert_close(model(tokens, attention_mask=everything).logits, answer, "mask")
    positions = torch.arange(7).expand(2, -1)
    assert_close(model(tokens, position_ids=positions).logits, answer, "positions")
    with pytest.raises(ValueError, match="input_ids"):
        model(attention_mask=everything)
    with pytest.raises(ValueError, match="attention_mask with a soft prompt"):
        model(tokens, attention_mask=torch.ones(2, 1, 7, 7))


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_that_of_the_text(case):
    """Training here counts in nats what transformers' own loss, with labels, is the mean of.

    But for the first token: a prompt could predict it and a bare base can't, so it isn't counted.
    """
    model, inputs = scrambled("llama", case), labelled("llama")
    inputs["labels"][:, 0] = -100
    total, count = token_losses(model, inputs["input_ids"], inputs["labels"])
    del inputs["attention_mask"]
    assert_close(total / count, model(**inputs).loss, "loss")


@pytest.mark.parametrize("case", CASES)
def test_our_own_llama_is_transformers_(case):
    """Equal but for the norm, which transformers computes in 32 bits even in a 64-bit model."""
    model, pair = own_prompt(case)
    inputs = batch()
    answers = model(**inputs)[:, -7:], pair.theirs(**inputs).logits[:, -7:]
    assert_close(*answers, "logits", rtol=RTOL[torch.float32])
    model(inputs["input_ids"], inputs["attention_mask"]).pow(2).mean().backward()
    assert all(values.grad.any() for values in trained_by_us(model).values())


@pytest.mark.parametrize("case", CASES)
def test_coming_and_going_leaves_no_trace(family, case):
    base = build(family)
    before = logits(base)
    with unchanged(base):
        names = list(base._modules)
        model = scrambled(family, case, base=base)
        with model.disable_adapter():
            assert torch.equal(logits(model), before)
            assert list(base._modules) == names
        assert not torch.equal(logits(model)[:, -3:], before[:, -3:])
        assert model.unload() is base
        assert list(base._modules) == names
    for module in base.modules():
        assert not module._forward_pre_hooks and not module._forward_pre_hooks_with_kwargs
    assert torch.equal(logits(base), before)


def test_hot_swapping_between_prompts_and_lora(family):
    """Every adapter answers as if it were alone; switching changes no requires_grad."""
    model = scrambled(family, "prompt")
    others = {
        case: (CASES[case][0], options_of(family, case)) for case in ("prefix", "p-tuning mlp")
    }
    others["lora"] = ("LoraConfig", {"task_type": TASKS[family], "target_modules": "all-linear"})
    alone = {"default": logits(model.train())}
    for name, (config, options) in others.items():
        model.add_adapter(name.replace(" ", "_"), getattr(minipeft, config)(**options))
    for name in model.adapters:
        model.set_adapter(name)
        scramble(trained_by_us(model), seed=len(alone))
        alone[name] = logits(model)
    model.eval()  # which those that are off hear of when they come on
    trains = {id(p): p.requires_grad for p in model.parameters()}
    for name in [*model.adapters, *reversed(model.adapters)]:
        model.set_adapter(name)
        assert torch.equal(logits(model), alone[name]), name
        assert not any(module.training for module in model.modules()), name
        assert all(
            trains.get(id(p), p.requires_grad) == p.requires_grad for p in model.parameters()
        )
    assert torch.equal(logits(model.unload()), logits(build(family, torch.float64)))


@pytest.mark.parametrize("case", CASES)
def test_merging_says_why_not(case):
    model = scrambled("llama", case)
    with (
        unchanged(model),
        pytest.raises(minipeft.NotMergeable, match=r"can't be merged: its .* in"),
    ):
        model.merge_adapter()
    with pytest.raises(minipeft.NotMergeable):
        model.merge_and_unload()


def test_trained_parameters_are_counted_as_peft_does(family, capsys):
    """n d, n 2 L d_kv, and the encoders by their layers' sizes; the classifier's head beside."""
    for case in CASES:
        pair = prompt_twins(family, case, torch.float32)
        pair.ours.print_trainable_parameters()
        pair.theirs.print_trainable_parameters()
        mine, peft_s = capsys.readouterr().out.splitlines()
        assert mine == peft_s, case
        width = 12 if family == "llama" and "prefix" in case else 24
        p, lstm = N * width, 2 * 4 * 5 * (24 + 5 + 2) + 2 * 4 * 5 * (10 + 5 + 2)
        formula = {
            "prompt": p,
            "prefix": 2 * 3 * p,
            "prefix mlp": p + 7 * (width + 1) + 6 * width * (7 + 1),
            "p-tuning mlp": p + 7 * (24 + 1) + 7 * (7 + 1) + 24 * (7 + 1),
            "p-tuning lstm": p + lstm + 10 * 11 + 24 * 11,
        }
        head = 3 * 24 + 3 if family == "bert" else 0
        assert pair.ours.get_nb_trainable_parameters()[0] == formula[case] + head
