"""Prompt tuning: how it starts, and what else it moves in a call."""

import peft
import pytest
import torch
from torch import nn
from transformers import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

import minipeft
from tests.closeness import assert_close

from .models import batch, build, toy
from .peers import quiet, wrap_ours, wrap_theirs
from .prompts import N, own_llama, words
from .snapshots import unchanged

TEXT = {"prompt_tuning_init": "TEXT", "task_type": "CAUSAL_LM"}


def learned(model) -> torch.Tensor:
    return model.base_model.prompt_encoder.embedding.weight


@pytest.mark.parametrize("init", ["RANDOM", "SAMPLE_VOCAB"])
def test_a_random_start_is_peft_s_for_a_seed(family, init):
    starts = []
    for wrap in (wrap_ours, wrap_theirs):
        base = build(family)
        torch.manual_seed(11)
        options = {"num_virtual_tokens": 30, "prompt_tuning_init": init, "task_type": "CAUSAL_LM"}
        if family == "bert":
            options["task_type"] = "SEQ_CLS"
        model = wrap(base, options, config="PromptTuningConfig")
        named = dict(model.named_parameters())
        starts += [p for name, p in named.items() if "prompt_encoder" in name]
    assert torch.equal(*starts)
    table = base.get_input_embeddings().weight
    same = (starts[0][:, None] == table).all(-1).any(-1)  # (rows,)
    assert same.all() == (init == "SAMPLE_VOCAB")
    assert same.any() == (init == "SAMPLE_VOCAB")


@pytest.mark.parametrize("text", ["w3", "w3 w1 w4", "w3 w1 w4 w1 w5 w9 w2"])
def test_a_text_is_repeated_or_cut_as_in_peft(text, tmp_path):
    PreTrainedTokenizerFast(tokenizer_object=words()).save_pretrained(tmp_path)
    options = TEXT | {
        "num_virtual_tokens": 5,
        "prompt_tuning_init_text": text,
        "tokenizer_name_or_path": str(tmp_path),
    }
    theirs = wrap_theirs(build("gpt2"), options, config="PromptTuningConfig")
    expected = theirs.prompt_encoder["default"].embedding.weight
    ours = wrap_ours(build("gpt2"), options, config="PromptTuningConfig")
    assert torch.equal(learned(ours), expected)
    options["tokenizer_name_or_path"] = str(tmp_path / "tokenizer.json")
    own = wrap_ours(own_llama(torch.float32), options, config="PromptTuningConfig")
    ids = [int(word[1:]) for word in text.split()]
    rows = build("llama").get_input_embeddings().weight[(ids * 5)[:5]]
    assert torch.equal(learned(own), rows)
    ours.save_pretrained(tmp_path / "adapter")
    (tmp_path / "tokenizer.json").unlink()  # a file is opened without it
    for trainable in (False, True):
        again = minipeft.PeftModel.from_pretrained(
            build("gpt2"), tmp_path / "adapter", is_trainable=trainable
        )
        assert torch.equal(learned(again), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_virtual_tokens": None}, "num_virtual_tokens=None must be a whole number"),
        ({"num_virtual_tokens": 0}, "num_virtual_tokens=0 .* smallest is 1"),
        ({"num_virtual_tokens": 2.0}, "num_virtual_tokens=2.0 must be a whole number"),
        ({"num_virtual_tokens": True}, "num_virtual_tokens=True must be a whole number"),
        ({"num_transformer_submodules": 2}, "num_transformer_submodules=2 .*None, 1"),
        ({"modules_to_save": "score"}, "modules_to_save='score' must be a list"),
        ({"prompt_tuning_init": "text"}, "prompt_tuning_init='text'.*'TEXT'"),
        ({"prompt_tuning_init": "TEXT"}, "prompt_tuning_init_text"),
        (TEXT | {"prompt_tuning_init_text": "w1"}, "tokenizer_name_or_path"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        minipeft.PromptTuningConfig(**{"num_virtual_tokens": N} | options)


def test_unknown_options_and_those_not_built_are_refused(tmp_path):
    with pytest.raises(TypeError, match="num_virtual_token'; nearest: 'num_virtual_tokens'"):
        minipeft.PromptTuningConfig(num_virtual_token=3)
    fields = {"num_virtual_tokens": 3, "prompt_scale": 2.0}
    with pytest.raises(ValueError, match="prompt_scale"):
        minipeft.PromptTuningConfig.from_dict(fields)


def t5() -> nn.Module:
    sizes = {"vocab_size": 40, "d_model": 8, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(**sizes, d_kv=4))


@pytest.mark.parametrize(
    ("base", "options", "error", "message"),
    [
        (toy, {}, ValueError, "PROMPT_TUNING on Toy: .* get_input_embeddings"),
        (t5, {}, ValueError, "PROMPT_TUNING on an encoder-decoder isn't built"),
        ("gpt2", {"token_dim": 25}, ValueError, "token_dim=25 doesn't fit GPT2LMHeadModel.* 24"),
        ("gpt2", {"num_layers": 1}, ValueError, "num_layers=1 doesn't fit .* it is 3"),
        (
            "gpt2",
            {"modules_to_save": ["lm_head", "lm_heat"]},
            ValueError,
            "'lm_heat' .*nearest: 'lm_head'",
        ),
        (
            "gpt2",
            TEXT | {"prompt_tuning_init_text": "w1", "tokenizer_name_or_path": "nowhere"},
            FileNotFoundError,
            "tokenizer_name_or_path='nowhere' is no tokenizer.json",
        ),
    ],
)
def test_what_does_not_fit_the_model_leaves_it_alone(base, options, error, message):
    base = build(base) if isinstance(base, str) else base()
    config = minipeft.PromptTuningConfig(**{"num_virtual_tokens": N} | options)
    with unchanged(base), pytest.raises(error, match=message):
        minipeft.get_peft_model(base, config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w39 w40", r"gives the tokens \[39, 40\], the model knows 0 to 39"),
        (" ", r"gives the tokens \[\]"),
        ("unheard of", "can't read prompt_tuning_init_text='unheard of': .* vocabulary"),
    ],
)
def test_a_text_must_be_in_the_model_s_own_tokens(text, message, tmp_path):
    """w40 is one token more than the model knows; no word at all leaves nothing to start from."""
    tokenizer = words()
    tokenizer.add_tokens(["w40"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    options = TEXT | {"prompt_tuning_init_text": text, "tokenizer_name_or_path": str(tmp_path)}
    config = minipeft.PromptTuningConfig(num_virtual_tokens=N, **options)
    base = build("gpt2")
    with unchanged(base), pytest.raises(ValueError, match=message):
        minipeft.get_peft_model(base, config)


def test_modules_to_save_are_peft_s(tmp_path):
    options = {"num_virtual_tokens": N, "task_type": "CAUSAL_LM", "modules_to_save": ["lm_head"]}
    ours = wrap_ours(build("gpt2"), options, config="PromptTuningConfig")
    with torch.no_grad():
        ours.base_model.lm_head.weight.add_(0.5)
    ours.save_pretrained(tmp_path)
    with quiet():
        theirs = peft.PeftModel.from_pretrained(build("gpt2"), tmp_path).eval()
    assert_close(ours(**batch()).logits, theirs(**batch()).logits)


@pytest.mark.parametrize(
    ("kind", "task", "labels"),
    [
        (BertForTokenClassification, "TOKEN_CLS", {"labels": torch.arange(14).reshape(2, 7) % 3}),
        (
            BertForQuestionAnswering,
            "QUESTION_ANS",
            {"start_positions": torch.tensor([1, 0]), "end_positions": torch.tensor([4, 2])},
        ),
        (
            BertForSequenceClassification,
            "SEQ_CLS",
            {"labels": torch.tensor([[0.0, 1] * 7] * 2)[:, :7]},
        ),
    ],
)
def test_labels_of_tokens_and_places_of_answers_move_with_the_text(kind, task, labels):
    """The oracle is BERT itself, given [P; E(x)] and what should be said of it.

    peft 0.21 moves neither: `PeftModelForTokenClassification.forward` then fails, there being more
    logits than labels; `PeftModelForQuestionAnswering.forward` looks N places before the answer.
    """
    torch.manual_seed(0)
    shape = build("bert").config
    shape.num_labels = {"TOKEN_CLS": 3, "QUESTION_ANS": 2, "SEQ_CLS": 7}[task]
    model = kind(shape).eval()
    options = {"num_virtual_tokens": N, "task_type": task}
    model = wrap_ours(model, options, config="PromptTuningConfig")
    loss = model(**batch(), **labels, token_type_ids=torch.ones(2, 7, dtype=torch.int64)).loss
    text = model.get_input_embeddings()(batch()["input_ids"])
    whole = torch.cat((learned(model).expand(2, -1, -1), text), dim=1)
    if task == "TOKEN_CLS":
        labels = {"labels": nn.functional.pad(labels["labels"], (N, 0), value=-100)}
    elif task == "QUESTION_ANS":  # but not those of the whole text, be they as many as tokens
        labels = {name: places + N for name, places in labels.items()}
    mask = nn.functional.pad(batch()["attention_mask"], (N, 0), value=1)
    types = torch.tensor([[0] * N + [1] * 7] * 2)
    with model.disable_adapter():
        plain = model(inputs_embeds=whole, attention_mask=mask, token_type_ids=types, **labels)
    assert_close(loss, plain.loss)
