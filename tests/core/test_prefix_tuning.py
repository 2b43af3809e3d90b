"""Prefix tuning: where a row's numbers go, and where a prefix can't work."""

import pytest
import torch
from transformers import GPT2ForSequenceClassification, LlamaForSequenceClassification

import minipeft
from tests.closeness import assert_close

from .models import VOCABULARY, batch, build, logits, toy
from .peers import wrap_ours, wrap_theirs
from .prompts import N, options_of, own_llama, prompt_twins
from .snapshots import unchanged


def test_a_row_holds_the_keys_and_values_of_each_layer():
    """A prefix set to what real tokens leave in the cache answers as if they had been read."""
    base = own_llama()
    words = torch.randint(VOCABULARY, (1, N), generator=torch.Generator().manual_seed(3))
    tokens = batch()["input_ids"]
    whole = base(torch.cat((words.expand(2, -1), tokens), dim=1))[:, N:]
    cache = base.new_cache()
    base(words, past_key_values=cache)
    kept = [torch.stack(pair) for pair in cache.layers.values()]  # L of (2, 1, heads, N, head_dim)
    rows = torch.stack(kept).squeeze(2).permute(3, 0, 1, 2, 4)  # (N, L, 2, heads, head_dim)
    model = wrap_ours(base, {"num_virtual_tokens": N}, config="PrefixTuningConfig")
    with torch.no_grad():
        model.base_model.prompt_encoder.embedding.weight.copy_(rows.flatten(1))
    assert_close(model(tokens), whole)


def test_the_sizes_are_those_of_keys_and_values():
    """Grouped-query attention: 2 key/value heads of 6 for 4 query heads; GPT-2 has 4 of 6."""
    for base, heads in ((build("llama"), 2), (own_llama(), 2), (build("gpt2"), 4)):
        model = wrap_ours(base, {"num_virtual_tokens": N}, config="PrefixTuningConfig")
        config = model.peft_config["default"]
        assert (config.num_attention_heads, config.token_dim) == (heads, 6 * heads)
        assert model.base_model.prompt_encoder.embedding.weight.shape == (N, 3 * 2 * 6 * heads)


@pytest.mark.parametrize("projection", [False, True])
def test_a_start_at_zero_is_peft_s(projection):
    options = options_of("llama", "prefix") | {
        "init_weights": "zero",
        "prefix_projection": projection,
    }
    models = [
        wrap(build("llama"), options, config="PrefixTuningConfig")
        for wrap in (wrap_ours, wrap_theirs)
    ]
    assert_close(*(logits(model.eval()) for model in models), rtol=0.0)
    assert not models[0].base_model.prompt_encoder().any()


@pytest.mark.parametrize("kind", [LlamaForSequenceClassification, GPT2ForSequenceClassification])
def test_a_classifier_finds_its_last_token(kind):
    """Padding is on the right: the place of the last token is told by the tokens themselves."""
    shape = build("llama" if kind is LlamaForSequenceClassification else "gpt2").config
    shape.pad_token_id, shape.num_labels = 0, 3
    pair = []
    for wrap in (wrap_ours, wrap_theirs):
        torch.manual_seed(0)
        options = {"num_virtual_tokens": N, "task_type": "SEQ_CLS"}
        pair.append(wrap(kind(shape).eval(), options, config="PrefixTuningConfig").eval())
    tokens = batch()["input_ids"].clamp(min=1)
    inputs = {"input_ids": tokens * batch()["attention_mask"], "labels": torch.tensor([2, 0])}
    inputs["attention_mask"] = batch()["attention_mask"]
    answers = [model(**inputs) for model in pair]
    assert_close(answers[0].logits, answers[1].logits, "logits", rtol=0.0)
    assert_close(answers[0].loss, answers[1].loss, "loss", rtol=0.0)


def test_gradient_checkpointing_of_transformers_is_refused(family):
    """It drops the cache in training (`GradientCheckpointingLayer`), so the prefix would be lost.

    peft asks once, when the adapter is made, and later trains without a prefix. In eval mode
    nothing is dropped, and training goes on once it is switched off.
    """
    model = prompt_twins(family, "prefix").ours
    answer = logits(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert torch.equal(logits(model), answer)
    model.train()
    with pytest.raises(RuntimeError, match=r"checkpointing_disable.*prompt tuning"):
        logits(model)
    model.gradient_checkpointing_disable()
    logits(model).sum().backward()
    assert model.base_model.prompt_encoder.embedding.weight.grad.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix_projection": 1}, "prefix_projection=1 .*True, False"),
        ({"init_weights": "zeros"}, "init_weights='zeros' .*None, 'zero'"),
        ({"encoder_hidden_size": 0}, "encoder_hidden_size=0 .* smallest is 1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        minipeft.PrefixTuningConfig(num_virtual_tokens=N, **options)


def test_a_model_without_a_cache_is_refused():
    base = toy()
    base.config = build("gpt2").config
    base.get_input_embeddings = lambda: base.embedding
    config = minipeft.PrefixTuningConfig(num_virtual_tokens=N)
    with unchanged(base), pytest.raises(ValueError, match=r"Toy: no forward .* past_key_values"):
        minipeft.get_peft_model(base, config)
