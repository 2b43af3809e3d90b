"""Mixed batches whose rows lie otherwise, and soft prompts in front of caches and classifiers."""

import pytest
import torch
import transformers
from torch import nn

import minipeft

from .models import VOCABULARY, build
from .snapshots import assert_says, unchanged

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
ANSWER = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}


class Recurrent(nn.Module):
    """Its layer reads (batch, length, 8), or (length, batch, 8)."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.lstm, self.head = nn.LSTM(8, 8, batch_first=batch_first), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.lstm(x if self.batch_first else x.transpose(0, 1))[0]
        return self.head(h) if self.batch_first else self.head(h).transpose(0, 1)


def two(base: nn.Module, targets: list[str]) -> minipeft.PeftModel:
    torch.manual_seed(0)
    options = {"target_modules": targets, "r": 2, "init_lora_weights": False}
    model = minipeft.get_peft_model(base, minipeft.LoraConfig(**options), "a")
    model.add_adapter("b", minipeft.LoraConfig(**options))
    return model.eval()


@torch.no_grad()
def assert_mixes(model: minipeft.PeftModel, x: torch.Tensor, take=lambda answer: answer) -> None:
    """Two samples, each beside itself alone."""
    mixed = take(model(x, adapter_names=["a", "b"]))
    for row, name in enumerate("ab"):
        model.set_adapter(name)
        right = take(model(x[row : row + 1]))[0]
        assert (mixed[row] - right).norm() <= 1e-4 * right.norm()


@pytest.mark.parametrize("length", [2, 5])  # as many as samples: the shape says nothing
def test_length_first_is_refused_and_batch_first_is_not(length):
    x = torch.randn(2, length, 8)
    assert_mixes(two(Recurrent(batch_first=True), ["head"]), x)
    model = two(Recurrent(batch_first=False), ["head"])
    with unchanged(model), pytest.raises(ValueError) as error:
        model(x, adapter_names=["a", "b"])
    assert_says(error, "head", "sample after sample", "batch of their own")


@pytest.mark.parametrize("target, mixes", [("q_proj", True), ("experts.0.up_proj", False)])
def test_experts_are_refused_and_attention_beside_them_is_not(target, mixes):
    experts = {"num_experts": 2, "num_experts_per_tok": 2}
    base = transformers.OlmoeForCausalLM(transformers.OlmoeConfig(**SIZES, **experts))
    model, ids = two(base, [target]), torch.randint(3, 60, (2, 4))
    if mixes:
        assert_mixes(model, ids, lambda answer: answer.logits)
        return
    for same in (ids, ids[:1].expand(2, 4)):  # samples that are alike hide it from the values
        with pytest.raises(ValueError, match="sample after sample"):
            model(same, adapter_names=["a", "b"])


def test_opt_flattens_batch_and_length_and_mixes():
    sizes = {"vocab_size": 64, "hidden_size": 32, "ffn_dim": 48, "word_embed_proj_dim": 32}
    shape = transformers.OPTConfig(**sizes, num_hidden_layers=1, num_attention_heads=4)
    model = two(transformers.OPTForCausalLM(shape), ["fc1", "q_proj"])
    assert_mixes(model, torch.randint(3, 60, (2, 4)), lambda answer: answer.logits)


def test_asking_for_the_layout_calls_nobodys_hooks():
    model, calls = two(Recurrent(batch_first=True), ["head"]), []
    model.base_model.lstm.register_forward_hook(lambda *_: calls.append(1))
    model(torch.randn(2, 3, 8), adapter_names=["a", "b"])
    assert len(calls) == 1


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b"], ["a", "b", "a", "b", "a"]])
def test_as_many_names_as_samples(names):
    model = two(build("llama"), ["q_proj"])
    for call in (model, model.generate):
        with unchanged(model), pytest.raises(ValueError) as error:
            call(torch.randint(3, VOCABULARY, (4, 6)), adapter_names=names)
        assert_says(error, f"{len(names)} adapter_names", "4 samples")


@pytest.mark.parametrize("change", [
    lambda tuner: tuner.lora_B.weight.data.mul_(3),
    lambda tuner: tuner.lora_A.weight.data.neg_(),
    lambda tuner: setattr(tuner, "scaling", 7.0),
])  # fmt: skip
def test_factors_changed_past_autograd_are_seen(change):
    model, x = two(nn.Sequential(nn.Linear(8, 8)), ["0"]), torch.randn(2, 8)
    assert_mixes(model, x)
    change(model.adapters["a"].tuners["0"])
    assert_mixes(model, x)


CLASSIFIERS = {
    "llama": lambda: transformers.LlamaForSequenceClassification(
        transformers.LlamaConfig(**SIZES, pad_token_id=0)
    ),
    "gpt2": lambda: transformers.GPT2ForSequenceClassification(
        transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, pad_token_id=0)
    ),
    "opt": lambda: transformers.OPTForSequenceClassification(
        transformers.OPTConfig(
            vocab_size=64, hidden_size=32, ffn_dim=48, word_embed_proj_dim=32, pad_token_id=0,
            num_hidden_layers=2, num_attention_heads=4,
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("config", [minipeft.PromptTuningConfig, minipeft.PromptEncoderConfig])
def test_a_padded_text_is_classified_as_it_is_alone(kind, config):
    torch.manual_seed(0)
    base = CLASSIFIERS[kind]().eval()
    model = minipeft.get_peft_model(base, config(num_virtual_tokens=3, task_type="SEQ_CLS")).eval()
    padded = torch.tensor([[5, 9, 11, 0, 0], [6, 10, 12, 21, 34]])
    short = padded[:1, :3]
    with torch.no_grad():
        alone = model(input_ids=short, attention_mask=torch.ones_like(short)).logits[0]
        batch = model(input_ids=padded, attention_mask=(padded != 0).long()).logits[0]
        with model.disable_adapter():
            assert base(input_ids=short).logits.shape == (1, 2)
    assert (alone - batch).norm() <= 1e-4 * alone.norm()


@pytest.mark.parametrize("config", [minipeft.PrefixTuningConfig, minipeft.PromptTuningConfig])
@pytest.mark.parametrize("options", [
    {"prefill_chunk_size": 2},
    {"prompt_lookup_num_tokens": 2},
    {"cache_implementation": "static"},
    {"generation_config": transformers.GenerationConfig(prefill_chunk_size=2)},
    {"past_key_values": "kept"},
    {"past_key_values": "static"},
])  # fmt: skip
def test_what_counts_cache_entries_as_tokens_is_refused(config, options):
    model = minipeft.get_peft_model(build("llama"), config(num_virtual_tokens=2)).eval()
    ids = torch.randint(3, VOCABULARY, (1, 5))
    caches = {
        "kept": lambda: model(ids, use_cache=True).past_key_values,
        "static": lambda: transformers.StaticCache(config=model.config, max_cache_len=20),
    }
    options = {name: caches[v]() if v in ("kept", "static") and name == "past_key_values" else v
               for name, v in options.items()}  # fmt: skip
    with pytest.raises(ValueError) as error:
        model.generate(ids, **(ANSWER | options))
    assert_says(error, "soft prompt")


def test_a_prefix_takes_the_shape_that_the_model_keeps():
    """Falcon's multi-query attention keeps one head; its newer one as many as queries."""
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    for options, heads in (
        ({"multi_query": True}, 1),
        ({"new_decoder_architecture": True, "num_kv_heads": 2}, 4),
    ):
        base = transformers.FalconForCausalLM(transformers.FalconConfig(**sizes, **options))
        config = minipeft.PrefixTuningConfig(num_virtual_tokens=3)
        model = minipeft.get_peft_model(base, config).eval()
        assert model.peft_config["default"].num_attention_heads == heads
        assert model(torch.arange(8).view(2, 4)).logits.isfinite().all()


def test_latent_attention_has_no_place_for_a_prefix():
    latent = {"q_lora_rank": 16, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4}
    shape = transformers.DeepseekV3Config(
        **SIZES, **latent, num_key_value_heads=4, v_head_dim=8, first_k_dense_replace=2
    )
    base = transformers.DeepseekV3ForCausalLM(shape)
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.get_peft_model(base, minipeft.PrefixTuningConfig(num_virtual_tokens=3))
    assert_says(error, "PREFIX_TUNING", "DeepseekV3", "12", "LORA")
