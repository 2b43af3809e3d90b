"""Batches and caches of the sampling loop, against transformers and each row alone."""

import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers import models as tokenizer_models
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import nn

import minipeft
from minipeft.models.llama import Llama, LlamaConfig, generate

VOCABULARY, WIDTH = 40, 24
PROMPTS = ["w5 w9 w11", "w7", "w1 w2 w3 w4 w5 w6 w7", "w30 w31 w32"]
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": VOCABULARY}


def their_llama():
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            **SIZES,
            hidden_size=WIDTH,
            intermediate_size=36,
            num_key_value_heads=2,
            bos_token_id=None,
            eos_token_id=3,
            pad_token_id=0,
        )
    )


def their_gpt2():
    """Learned positions: a wrong one shows at once."""
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            **SIZES, hidden_size=WIDTH, n_positions=48, bos_token_id=0, eos_token_id=3
        )
    )


def our_llama():
    theirs = build("their_llama")
    ours = Llama(LlamaConfig.from_config(theirs.config.to_dict())).double().eval()
    ours.load_state_dict(theirs.state_dict())
    return ours


def build(kind):
    """Large weights: every token is followed by another one, and rows end at different places."""
    if kind == "our_llama":
        return our_llama()
    torch.manual_seed(4)
    model = {"their_llama": their_llama, "their_gpt2": their_gpt2}[kind]().double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.5)
    return model


KINDS = ["our_llama", "their_llama", "their_gpt2"]


@pytest.fixture
def tokenizer():
    words = Tokenizer(tokenizer_models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}))
    words.pre_tokenizer = WhitespaceSplit()
    return words


class Spy(nn.Module):
    """Passes calls on to a model and writes down what came."""

    def __init__(self, model, hidden=()):
        super().__init__()
        self.model, self.hidden, self.calls, self.config = model, hidden, [], model.config

    def get_base_model(self):
        return self.model

    def forward(self, input_ids, **options):
        self.calls.append((tuple(input_ids.shape), options))
        return self.model(input_ids, **{k: v for k, v in options.items() if k not in self.hidden})


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_text_is_that_of_transformers(kind, tokenizer):
    reference = build("their_llama" if kind == "our_llama" else kind)
    rows = [tokenizer.encode(prompt).ids for prompt in PROMPTS]
    length = max(map(len, rows))
    texts = []
    out = reference.generate(
        torch.tensor([[0] * (length - len(row)) + row for row in rows]),
        attention_mask=torch.tensor([[0] * (length - len(r)) + [1] * len(r) for r in rows]),
        max_new_tokens=25,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=3,
    )
    for row, ids in zip(rows, out.tolist(), strict=True):
        new = ids[length:]
        new = new[: new.index(3)] if 3 in new else new
        texts.append(tokenizer.decode(row + new))
    assert generate(build(kind), tokenizer, PROMPTS, 25) == texts
    lengths = {len(text.split()) - len(p.split()) for text, p in zip(texts, PROMPTS, strict=True)}
    assert len(lengths) > 1  # some rows ended before others


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "seed": 7}, {"temperature": 3.0}])
def test_a_row_is_what_it_is_alone_and_without_a_cache(kind, tokenizer, options):
    model = build(kind)
    together = generate(model, tokenizer, PROMPTS, 20, **options)
    assert together == [generate(model, tokenizer, prompt, 20, **options) for prompt in PROMPTS]
    assert together == generate(model, tokenizer, PROMPTS, 20, use_cache=False, **options)
    assert together[0] == generate(model, tokenizer, PROMPTS[:1], 20, use_cache=False, **options)[0]
    assert len(set(together)) == len(PROMPTS)


def test_seeds_by_row_tell_equal_prompts_apart(tokenizer):
    model = build("our_llama")
    texts = generate(model, tokenizer, ["w5"] * 3, 12, temperature=3.0, seed=[1, 2, 1])
    assert texts[0] == texts[2] != texts[1]
    assert texts[1] == generate(model, tokenizer, "w5", 12, temperature=3.0, seed=2)


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_cache_each_step_reads_one_token(kind, tokenizer):
    spy = Spy(build(kind))
    generate(spy, tokenizer, ["w5 w6 w7", "w8 w9 w10"], 4)
    assert [shape for shape, _ in spy.calls] == [(2, 3), (2, 1), (2, 1), (2, 1)]
    assert {tuple(options) for _, options in spy.calls} == {("past_key_values",)}  # no padding
    spy.calls.clear()
    generate(spy, tokenizer, ["w5 w6 w7", "w8"], 3)
    assert [shape for shape, _ in spy.calls] == [(2, 3), (2, 1), (2, 1)]
    masks = [options["attention_mask"].tolist() for _, options in spy.calls]
    assert masks[2] == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
    assert spy.calls[2][1]["position_ids"].tolist() == [[4], [2]]
    spy.calls.clear()
    generate(spy, tokenizer, "w5 w6 w7", 3, use_cache=False)
    assert [shape for shape, _ in spy.calls] == [(1, 3), (1, 4), (1, 5)]
    assert all(not options for _, options in spy.calls)


def test_adapter_names_are_handed_on_at_every_step_if_given(tokenizer):
    spy = Spy(build("our_llama"), hidden=("adapter_names",))
    generate(spy, tokenizer, PROMPTS[:2], 3, adapter_names=["pirate", "__base__"])
    assert [o["adapter_names"] for _, o in spy.calls] == [["pirate", "__base__"]] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_with_an_adapter(kind, tokenizer):
    model = build(kind)
    before = generate(model, tokenizer, PROMPTS, 12)
    config = minipeft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    peft_model = minipeft.get_peft_model(model, config).double()
    adapted = generate(peft_model, tokenizer, PROMPTS, 12)
    assert adapted == generate(peft_model, tokenizer, PROMPTS, 12, use_cache=False) != before
    assert generate(peft_model.merge_and_unload(), tokenizer, PROMPTS, 12) == adapted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["Prefix", "Prompt"])
def test_with_a_soft_prompt(kind, method, tokenizer):
    """It comes in at the first step, where the cache is empty, and stays remembered."""
    model = build(kind)
    before = generate(model, tokenizer, PROMPTS, 12)
    config = getattr(minipeft, f"{method}TuningConfig")(num_virtual_tokens=5, task_type="CAUSAL_LM")
    peft_model = minipeft.get_peft_model(model, config).double()
    torch.nn.init.normal_(peft_model.prompt_encoder.embedding.weight)
    together = generate(peft_model, tokenizer, PROMPTS, 12)
    assert together == [generate(peft_model, tokenizer, prompt, 12) for prompt in PROMPTS]
    assert together == generate(peft_model, tokenizer, PROMPTS, 12, use_cache=False) != before


def test_with_an_adapter_per_row(tokenizer):
    model = build("our_llama")
    options = {"target_modules": "all-linear", "init_lora_weights": False}
    peft_model = minipeft.get_peft_model(model, minipeft.LoraConfig(r=2, **options), "one")
    peft_model.add_adapter("two", minipeft.LoraConfig(r=3, **options))
    peft_model.double().eval()
    names = ["two", "__base__", "one", "two"]
    alone = []
    for name, prompt in zip(names, PROMPTS, strict=True):
        if name == "__base__":
            with peft_model.disable_adapter():
                alone.append(generate(peft_model, tokenizer, prompt, 12))
        else:
            peft_model.set_adapter(name)
            alone.append(generate(peft_model, tokenizer, prompt, 12))
    assert generate(peft_model, tokenizer, PROMPTS, 12, adapter_names=names) == alone
    assert alone != generate(peft_model, tokenizer, PROMPTS, 12)


def test_every_module_gets_its_own_mode_back(tokenizer):
    model = build("our_llama").train()
    model.model.layers[1].eval()
    before = [module.training for module in model.modules()]
    generate(model, tokenizer, "w5", 2)
    assert [module.training for module in model.modules()] == before


def test_filters_reach_the_draw(tokenizer):
    model = build("our_llama")
    greedy = generate(model, tokenizer, PROMPTS, 15)
    free = generate(model, tokenizer, PROMPTS, 15, temperature=4.0)
    assert generate(model, tokenizer, PROMPTS, 15, temperature=4.0, top_k=1) == greedy != free
    assert generate(model, tokenizer, PROMPTS, 15, temperature=4.0, top_p=1e-6) == greedy
    cut = generate(model, tokenizer, PROMPTS, 15, temperature=4.0, top_k=3, top_p=0.9)
    assert cut not in (greedy, free)


@pytest.mark.parametrize(
    "prompt, options, message",
    [
        ("w1", {"temperature": float("inf")}, "temperature .* inf"),
        ("w1", {"temperature": "hot"}, "temperature .* 'hot'"),
        ("w1", {"top_k": 0}, "top_k .* 0"),
        ("w1", {"top_k": 2.0}, r"top_k .* 2\.0"),
        ("w1", {"top_k": True}, "top_k .* True"),
        ("w1", {"top_p": 0}, "top_p .* 0"),
        ("w1", {"top_p": 1.5}, r"top_p .* 1\.5"),
        ("w1", {"top_p": float("nan")}, "top_p .* nan"),
        ("w1", {"max_new_tokens": 2.5}, r"max_new_tokens .* 2\.5"),
        ("w1", {"seed": "x"}, "seed .* 'x'"),
        ([], {}, r"prompt=\[\] holds no text"),
        (7, {}, "prompt=7 must be a text"),
        (None, {}, "prompt=None must be a text"),
        (["w1", 7], {}, "prompt=.*list of texts"),
        (["w1", ""], {}, "the prompt '' holds no token"),
        (["w1", "w2"], {"seed": [1]}, "seed has 1 entries for 2 prompts"),
        (["w1", "w2"], {"adapter_names": ["a"]}, "adapter_names has 1 entries for 2 prompts"),
        ("w1", {"adapter_names": "a"}, "adapter_names='a' must be a list of str"),
    ],
)
def test_bad_requests(tokenizer, prompt, options, message):
    with pytest.raises(ValueError, match=message):
        generate(build("our_llama"), tokenizer, prompt, **options)
