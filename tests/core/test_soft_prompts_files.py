"""Folders of soft prompts go both ways between Hugging Face peft and minipeft."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import minipeft
from tests.closeness import RTOL, assert_close

from .exchange import CONFIG, WEIGHTS, open_in_peft
from .models import build, logits
from .peers import quiet, scramble, trained_by_us, wrap_ours
from .prompts import CASES, KINDS, N, options_of, prompt_twins
from .snapshots import unchanged


@pytest.mark.parametrize("case", CASES)
def test_ours_opens_in_peft_and_theirs_here(family, case, tmp_path):
    """The encoders' work is baked in; a classifier's trained head comes along."""
    pair = prompt_twins(family, case, torch.float32)
    pair.ours.save_pretrained(tmp_path / "ours")
    pair.theirs.save_pretrained(tmp_path / "theirs")
    theirs = open_in_peft(build(family), tmp_path / "ours")
    ours = minipeft.PeftModel.from_pretrained(build(family), tmp_path / "theirs")
    assert_close(logits(theirs), logits(pair.ours), "opened in peft")
    assert_close(logits(ours), logits(pair.theirs), "opened here")
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    ours.save_pretrained(tmp_path / "again")
    assert_close(logits(open_in_peft(build(family), tmp_path / "again")), logits(theirs))


@pytest.mark.parametrize("case", CASES)
def test_the_files_hold_the_same(family, case, tmp_path):
    pair = prompt_twins(family, case, torch.float32)
    pair.ours.save_pretrained(tmp_path / "ours")
    pair.theirs.save_pretrained(tmp_path / "theirs")
    ours, theirs = (load_file(tmp_path / side / WEIGHTS) for side in ("ours", "theirs"))
    assert sorted(ours) == sorted(theirs)
    for name, values in theirs.items():
        assert ours[name].dtype == values.dtype
        assert_close(ours[name], values, name)
    mine, peft_s = (
        json.loads((tmp_path / side / CONFIG).read_text()) for side in ("ours", "theirs")
    )
    assert set(mine) <= set(peft_s)
    for option, value in mine.items():
        if option == "modules_to_save" and family == "bert":  # peft writes each name twice
            assert set(value) <= set(peft_s[option])
        else:
            assert value == peft_s[option], option


@pytest.mark.parametrize("case", KINDS)
def test_named_adapters_and_16_bits(case, tmp_path):
    pair = prompt_twins("llama", case, torch.float32, adapter="other")
    pair.ours.save_pretrained(tmp_path / "ours")
    pair.theirs.save_pretrained(tmp_path / "theirs")
    for side in ("ours", "theirs"):
        file = tmp_path / side / "other" / WEIGHTS
        half = {name: values.bfloat16() for name, values in load_file(file).items()}
        save_file(half, file, metadata={"format": "pt"})
        ours = minipeft.PeftModel.from_pretrained(build("llama"), file.parent, "other")
        theirs = open_in_peft(build("llama"), file.parent, "other")
        assert_close(logits(ours), logits(theirs), side)
        assert ours.base_model.prompt_encoder.embedding.weight.dtype == torch.float32
        assert_close(logits(ours), logits(pair.ours), "rounded", rtol=RTOL[torch.bfloat16])


def test_half_a_base_makes_half_a_difference(family, tmp_path):
    """A prompt of 32 bits goes to a base of 16 and back: the file is the same to the bit."""
    for case in KINDS[:2]:
        pair = prompt_twins(family, case, torch.float32)
        pair.ours.save_pretrained(tmp_path / case)
        half = minipeft.PeftModel.from_pretrained(build(family, torch.bfloat16), tmp_path / case)
        theirs = open_in_peft(build(family, torch.bfloat16), tmp_path / case)
        assert_close(logits(half), logits(theirs), case, rtol=0.0)
        half.save_pretrained(tmp_path / "again")
        before, after = (load_file(tmp_path / name / WEIGHTS) for name in (case, "again"))
        assert torch.equal(before["prompt_embeddings"], after["prompt_embeddings"])


@pytest.mark.parametrize("case", ["prompt", "prefix"])
def test_training_goes_on_from_a_file(family, case, tmp_path):
    """peft refuses this for every prompt; a flat one has lost nothing."""
    pair = prompt_twins(family, case, torch.float32)
    pair.ours.save_pretrained(tmp_path)
    model = minipeft.PeftModel.from_pretrained(build(family), tmp_path, is_trainable=True)
    assert sorted(trained_by_us(model)) == sorted(trained_by_us(pair.ours))
    assert_close(logits(model), logits(pair.ours))
    logits(model).pow(2).mean().backward()
    assert model.base_model.prompt_encoder.embedding.weight.grad.any()


@pytest.mark.parametrize("case", ["prefix mlp", "p-tuning mlp", "p-tuning lstm"])
def test_an_encoder_is_not_in_the_file(case, tmp_path):
    prompt_twins("gpt2", case, torch.float32).ours.save_pretrained(tmp_path)
    base = build("gpt2")
    with (
        unchanged(base),
        pytest.raises(ValueError, match=r"not the encoder.*is_trainable"),
    ):
        minipeft.PeftModel.from_pretrained(base, tmp_path, is_trainable=True)


def test_dropout_of_the_encoder_is_not_baked_in(tmp_path):
    options = options_of("gpt2", "p-tuning lstm") | {"encoder_dropout": 0.5}
    model = wrap_ours(build("gpt2"), options, config="PromptEncoderConfig").train()
    scramble(trained_by_us(model))
    assert not torch.equal(logits(model), logits(model))
    model.save_pretrained(tmp_path)
    assert model.base_model.prompt_encoder.training
    again = minipeft.PeftModel.from_pretrained(build("gpt2"), tmp_path)
    assert_close(logits(again), logits(model.eval()))


def test_a_file_of_another_base_is_refused(tmp_path):
    """Its sizes are in the config: each is named with what this model has."""
    pair = prompt_twins("gpt2", "prefix", torch.float32)
    pair.ours.save_pretrained(tmp_path)
    base = build("llama")
    with unchanged(base), pytest.raises(ValueError, match=r"token_dim=24 doesn't fit.* it is 12"):
        minipeft.PeftModel.from_pretrained(base, tmp_path)
    tensors = {"prompt_embeddings": torch.zeros(N + 1, 144)}
    save_file(tensors, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with quiet(), pytest.raises(ValueError, match=r"prompt_embeddings is \(4, 144\)"):
        minipeft.PeftModel.from_pretrained(build("gpt2"), tmp_path)
