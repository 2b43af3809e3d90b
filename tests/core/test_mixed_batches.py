"""Many adapters in one batch: every sample as if it ran alone. Oracles: itself alone, and peft."""

import copy

import peft
import pytest
import torch

import minipeft
from tests.closeness import assert_close

from .models import FAMILIES, VOCABULARY, batch, build, logits, toy
from .peers import copy_values, quiet, scramble, trained_by_peft, trained_by_us
from .snapshots import assert_says, unchanged

BASE = "__base__"
NAMES = ["one", BASE, "two", "one", "three", BASE]


def options(family: str, name: str) -> dict:
    """Ranks, scales and targets differ; "three" leaves most layers alone."""
    targets = list(FAMILIES[family].targets)
    return {
        "one": {"r": 2, "target_modules": targets},
        "two": {"r": 5, "use_rslora": True, "target_modules": targets[:2]},
        "three": {"r": 1, "lora_alpha": 7, "target_modules": targets[1:3]},
    }[name]


def several(
    family: str, dtype: torch.dtype = torch.float64, prepared=lambda base: base
) -> minipeft.PeftModel:
    """A base with three scrambled adapters."""
    config = minipeft.LoraConfig(**options(family, "one"))
    model = minipeft.get_peft_model(prepared(build(family, dtype)), config, "one")
    for name in ("two", "three"):
        model.add_adapter(name, minipeft.LoraConfig(**options(family, name)))
    for seed, name in enumerate(("one", "two", "three")):
        model.set_adapter(name)
        scramble(trained_by_us(model), seed)
    model.set_adapter("one")
    return model


def tokens(samples: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(VOCABULARY, (samples, 7), generator=generator)  # (batch, length)


@torch.no_grad()
def alone(model: minipeft.PeftModel, inputs: torch.Tensor, names: list[str]) -> torch.Tensor:
    """Each sample by itself through its adapter, or through the bare base."""
    answers = []
    for row, name in zip(inputs, names, strict=True):
        if name == BASE:
            with model.disable_adapter():
                answers.append(model(row[None]).logits)
        else:
            model.set_adapter(name)
            answers.append(model(row[None]).logits)
    model.set_adapter("one")
    return torch.cat(answers)


def test_each_sample_is_as_if_it_ran_alone(family):
    model = several(family)
    with unchanged(model), torch.no_grad():
        mixed = model(tokens(), adapter_names=NAMES).logits
    assert_close(mixed, alone(model, tokens(), NAMES), family)


def test_a_base_sample_among_others_is_the_base(family):
    model, inputs = several(family), tokens()
    with torch.no_grad():
        mixed = model(inputs, adapter_names=NAMES).logits
        with model.disable_adapter():
            bare = model(inputs).logits
    rows = [row for row, name in enumerate(NAMES) if name == BASE]
    assert torch.equal(mixed[rows], bare[rows])


def test_equal_to_peft(family):
    ours = several(family)
    with quiet():
        config = peft.LoraConfig(**options(family, "one"))
        theirs = peft.get_peft_model(build(family, torch.float64), config, "one").eval()
        for name in ("two", "three"):
            theirs.add_adapter(name, peft.LoraConfig(**options(family, name)))
    for name in ("one", "two", "three"):
        ours.set_adapter(name)
        theirs.set_adapter(name)
        copy_values(trained_by_us(ours), trained_by_peft(theirs, name))
    theirs.eval()
    inputs = {"input_ids": tokens(), "adapter_names": NAMES}
    with torch.no_grad():
        assert_close(ours(**inputs).logits, theirs(**inputs).logits, family)


def test_other_low_rank_methods_share_a_batch_as_well():
    """VeRA and AdaLoRA beside LoRA: whatever says what its factors are."""
    model = several("llama")
    model.add_adapter("vera", minipeft.VeraConfig(r=8, target_modules=["q_proj", "down_proj"]))
    adaptive = minipeft.AdaLoraConfig(
        init_r=3, target_r=2, tinit=1, tfinal=1, total_step=9, target_modules=["v_proj"]
    )
    model.add_adapter("adaptive", adaptive)
    for name in ("vera", "adaptive"):
        model.set_adapter(name)
        scramble(trained_by_us(model))
    names = ["vera", "one", "adaptive", BASE, "vera", "two"]
    with torch.no_grad():
        mixed = model(tokens(), adapter_names=names).logits
    assert_close(mixed, alone(model, tokens(), names))


def test_a_training_step_between_two_calls_is_seen():
    """The stacks are kept from call to call, but not for longer than they are true."""
    model = several("llama")
    with torch.no_grad():
        before = model(tokens(), adapter_names=NAMES).logits
        again = model(tokens(), adapter_names=NAMES).logits
    kept = model._mixed_batches.mixture
    assert torch.equal(before, again)
    scramble(trained_by_us(model), seed=9)
    with torch.no_grad():
        after = model(tokens(), adapter_names=NAMES).logits
    assert model._mixed_batches.mixture is not kept
    assert_close(after, alone(model, tokens(), NAMES))
    assert not torch.equal(before[0], after[0])


@pytest.mark.parametrize("names", [["two", "one", BASE] * 2, ["one", "three"] * 3])
def test_other_names_in_the_next_call(names):
    """Of adapters that are stacked already."""
    model = several("llama")
    with torch.no_grad():
        model(tokens(), adapter_names=NAMES)
        kept = model._mixed_batches.mixture
        mixed = model(tokens(), adapter_names=names).logits
    assert model._mixed_batches.mixture is kept
    assert_close(mixed, alone(model, tokens(), names))


def test_another_adapter_of_the_same_name():
    model = several("llama")
    with torch.no_grad():
        before = model(tokens(), adapter_names=NAMES).logits
        model.delete_adapter("two")
        model.add_adapter("two", minipeft.LoraConfig(**options("llama", "two")))
        after = model(tokens(), adapter_names=NAMES).logits
    assert_close(after, alone(model, tokens(), NAMES))
    assert not torch.equal(before[2], after[2])


def test_what_a_hook_keeps_stays_as_it_was():
    model, seen = several("llama"), []
    layer = model.get_submodule("base_model.model.layers.0.self_attn.q_proj").base_layer
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        model(tokens(), adapter_names=NAMES)
        with model.disable_adapter():
            model(tokens())
    assert torch.equal(*seen)


@pytest.mark.parametrize("prepared", [lambda base: base, minipeft.quantize_model], ids=[32, 4])
def test_gradients_reach_the_inputs(prepared):
    """Of layers with a bias, too, where 4 bits give a view."""
    model = several("gpt2", torch.float32, prepared)
    vectors = model.get_input_embeddings()(tokens()).detach().requires_grad_()
    model(inputs_embeds=vectors, adapter_names=NAMES).logits.square().sum().backward()
    mixed, vectors.grad = vectors.grad, None
    for row, name in zip(vectors, NAMES, strict=True):
        answer = model(inputs_embeds=row[None], adapter_names=[name]).logits
        answer.square().sum().backward()
    assert_close(mixed, vectors.grad)


def test_generation_with_an_adapter_for_each_sample():
    model = several("llama", torch.float32)
    settings = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    mixed = model.generate(tokens(), adapter_names=NAMES, **settings)
    for row, name, text in zip(tokens(), NAMES, mixed, strict=True):
        single = model.generate(row[None], adapter_names=[name], **settings)
        assert torch.equal(text, single[0]), name


def test_beams_of_a_sample_share_its_adapter():
    model = several("llama", torch.float32)
    settings = {"max_new_tokens": 4, "num_beams": 3, "pad_token_id": 0, "eos_token_id": None}
    mixed = model.generate(tokens(2), adapter_names=["two", BASE], **settings)
    with model.disable_adapter():
        bare = model.generate(tokens(2)[1:], **settings)
    assert torch.equal(mixed[1:], bare)


def test_half_precision_adapters_in_a_half_precision_base():
    model = several("llama", torch.bfloat16)
    with torch.no_grad():
        mixed = model(tokens(), adapter_names=NAMES).logits
    assert mixed.dtype == torch.bfloat16
    assert_close(mixed, alone(model, tokens(), NAMES))


def test_a_copy_of_the_model_mixes_as_well():
    model = several("llama")
    with torch.no_grad():
        mixed = model(tokens(), adapter_names=NAMES).logits
        assert torch.equal(copy.deepcopy(model)(tokens(), adapter_names=NAMES).logits, mixed)


@pytest.mark.parametrize("names, words", [
    (["one", "tow"] * 3, ("'tow'", "nearest: 'two'")),
    (["one"] * 5, ("5 adapter_names", "6 samples")),
])  # fmt: skip
def test_names_that_do_not_fit(names, words):
    model = several("llama")
    with unchanged(model), pytest.raises(ValueError) as error:
        model(tokens(), adapter_names=names)
    assert_says(error, *words)


@pytest.mark.parametrize("more", [
    {"bias": "all"}, {"modules_to_save": ["second"]}, {"use_dora": True}
])  # fmt: skip
def test_an_adapter_that_is_more_than_low_rank_is_refused(more):
    model = minipeft.get_peft_model(toy(), minipeft.LoraConfig(target_modules=["first"]), "plain")
    model.add_adapter("more", minipeft.LoraConfig(target_modules=["first"], **more))
    model.eval()
    with unchanged(model), pytest.raises(ValueError) as error:
        model(torch.zeros(2, 3, dtype=torch.int64), adapter_names=["plain", "more"])
    assert_says(error, "'more'", "LORA", "batch of their own")


@pytest.mark.parametrize("state", ["train", "merged", "disabled"])
def test_a_state_in_which_names_make_no_sense(state):
    model = several("llama")
    if state == "train":
        model.train()
    if state == "merged":
        model.merge_adapter()
    context = model.disable_adapter() if state == "disabled" else unchanged(model)
    with context, pytest.raises(RuntimeError, match="eval"):
        model(tokens(), adapter_names=NAMES)


def test_one_name_for_all_is_that_adapter():
    model = several("gpt2")
    with torch.no_grad():
        mixed = model(**batch(), adapter_names=["one", "one"]).logits
    assert_close(mixed, logits(model).detach())
