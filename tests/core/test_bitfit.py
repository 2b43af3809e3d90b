"""BitFit (Ben Zaken et al. 2022) beside transformers' own models with nothing but biases trained.

For Llama, whose layers have none, the twin is transformers' Llama with `attention_bias` and
`mlp_bias`: the same matrices, and a bias of zeros beside each.
"""

import copy

import peft
import pytest
import torch
import transformers
from torch import nn

import minipeft
from tests.closeness import assert_all_close, assert_close

from .models import build, logits
from .peers import gradients, quiet, scramble, trained_by_us
from .snapshots import assert_says, assert_unchanged, take, unchanged

TARGETS = {"llama": "all-linear", "gpt2": None, "bert": None}


def adapted(family: str, dtype: torch.dtype = torch.float64, **options) -> minipeft.PeftModel:
    config = minipeft.BitFitConfig(target_modules=TARGETS[family], **options)
    return minipeft.get_peft_model(build(family, dtype), config)


def plain(family: str) -> nn.Module:
    """The same base in transformers alone, with a bias (of zeros where it has none)."""
    base = build(family, torch.float64)
    if family != "llama":
        return base
    options = {"attention_bias": True, "mlp_bias": True, "attn_implementation": "eager"}
    config = transformers.LlamaConfig(**base.config.to_dict() | options)
    twin = transformers.LlamaForCausalLM(config).to(torch.float64).eval()
    missing, unmatched_names = twin.load_state_dict(base.state_dict(), strict=False)
    assert not unmatched_names and all(name.endswith("bias") for name in missing)
    for name in missing:
        nn.init.zeros_(twin.get_parameter(name))
    return twin


def trained_by_hand(model: nn.Module) -> dict[str, nn.Parameter]:
    """Freeze all but the biases."""
    for name, values in model.named_parameters():
        values.requires_grad_(name.endswith("bias"))
    return {name: values for name, values in model.named_parameters() if values.requires_grad}


def test_equals_a_model_whose_biases_are_trained(family):
    """Names, outputs, gradients, and three steps of AdamW."""
    ours, theirs = adapted(family), plain(family)
    mine, hand = trained_by_us(ours), trained_by_hand(theirs)
    assert sorted(mine) == sorted(hand)
    scramble(mine), scramble(hand)
    assert_close(logits(ours), logits(theirs))
    optimizers = [torch.optim.AdamW(values.values(), lr=0.1) for values in (mine, hand)]
    for _ in range(3):
        expected, found = gradients(theirs, hand), gradients(ours, mine)
        assert_all_close(found, expected)
        for optimizer in optimizers:
            optimizer.step()
    assert_close(logits(ours), logits(theirs), "trained")


def test_only_the_targets(family):
    """Named modules alone, LayerNorms among them; a chosen layer without a bias gets one."""
    names = {"llama": ["v_proj"], "gpt2": ["c_attn", "ln_2"], "bert": ["query", "LayerNorm"]}[
        family
    ]
    config = minipeft.BitFitConfig(target_modules=names, layers_to_transform=[1])
    model = minipeft.get_peft_model(build(family), config)
    modules = [name for name, _ in plain(family).named_modules()]
    expected = {
        f"{path}.bias" for path in modules if ".1." in path and path.rpartition(".")[2] in names
    }
    assert expected and set(trained_by_us(model)) == expected


def test_the_head_is_trained_in_full_as_in_the_paper():
    model = adapted("bert", task_type="SEQ_CLS")
    trained = {name.removeprefix("bert.") for name in trained_by_us(model)}
    assert {"classifier.weight", "classifier.bias", "pooler.dense.bias"} < trained
    assert not any(name.endswith("weight") for name in trained - {"classifier.weight"})


def bert_base(**options) -> nn.Module:
    return transformers.BertModel(transformers.BertConfig(), **options)


def llama_7b() -> nn.Module:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig())


@pytest.mark.parametrize(
    ("build_it", "targets", "count", "total"),
    [
        (lambda: bert_base(add_pooling_layer=False), None, 102_144, 108_891_648),
        (bert_base, None, 102_912, 109_482_240),  # the paper's code trains the pooler's bias, too
        (bert_base, ["query", "intermediate.dense"], 12 * (768 + 3072), 109_482_240),
        (llama_7b, "all-linear", 32 * (5 * 4096 + 2 * 11_008), 6_738_415_616 + 1_359_872),
    ],
    ids=["BERT-base without a pooler", "BERT-base", "two of BERT-base's", "LLaMA-7B"],
)
def test_counts_of_published_models(build_it, targets, count, total):
    """Ben Zaken et al.: 0.09% of BERT-base, and 0.04% with two kinds of biases alone."""
    with torch.device("meta"):
        model = minipeft.get_peft_model(build_it(), minipeft.BitFitConfig(target_modules=targets))
    assert model.get_nb_trainable_parameters() == (count, total)
    assert count == sum(values.numel() for values in trained_by_us(model).values())


def test_merging(family):
    """An added bias becomes the layer's own; None comes back exactly. The others are in place."""
    model = adapted(family)
    scramble(trained_by_us(model))
    answer, before = logits(model), take(model)
    errors = model.merge_adapter(safe_merge=True)
    assert set(errors.values()) <= {0.0}
    assert_close(logits(model), answer, "merged")
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(build(family, torch.float64)))
    model.unmerge_adapter()
    assert_unchanged(model, before)
    base = model.merge_and_unload()
    assert_close(logits(base), answer, "merged for good")
    assert sorted(base.state_dict()) == sorted(plain(family).state_dict())
    assert not any(isinstance(module, minipeft.AdaptedLinear) for module in base.modules())


def test_files_and_several_adapters(family, tmp_path):
    model = adapted(family)
    scramble(trained_by_us(model))
    model.add_adapter("other", minipeft.BitFitConfig(target_modules=TARGETS[family]))
    answer = logits(model)
    flags = {name: values.requires_grad for name, values in model.named_parameters()}
    model.set_adapter("other")
    assert torch.equal(logits(model), logits(build(family, torch.float64)))
    scramble(trained_by_us(model), seed=5)
    other = logits(model)
    model.set_adapter("default")
    assert torch.equal(logits(model), answer)
    assert {name: values.requires_grad for name, values in model.named_parameters()} == flags
    model.save_pretrained(tmp_path)
    again = minipeft.PeftModel.from_pretrained(build(family, torch.float64), tmp_path)
    again.load_adapter(tmp_path / "other", "other")
    assert torch.equal(logits(again), answer)
    again.set_adapter("other")
    assert torch.equal(logits(again), other)
    assert not trained_by_us(again)


def masked_lm() -> nn.Module:
    config = build("bert").config
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.BertForMaskedLM(config).eval()


def test_a_bias_under_two_names_stays_one(tmp_path):
    """BERT's predictions hold their bias twice. Here it is one parameter, as it is in peft."""
    base = masked_lm()
    with unchanged(base):
        model = minipeft.get_peft_model(base, minipeft.BitFitConfig())
        head = base.cls.predictions
        assert head.bias is head.decoder.bias
        biases = [v.numel() for n, v in base.named_parameters() if n.endswith("bias")]
        assert model.get_nb_trainable_parameters()[0] == sum(biases)
        scramble(trained_by_us(model))
        answer = logits(model)
        model.save_pretrained(tmp_path)
        model.unload()
    assert head.bias is head.decoder.bias
    again = minipeft.PeftModel.from_pretrained(masked_lm(), tmp_path)
    assert torch.equal(logits(again), answer)
    head = again.merge_and_unload().cls.predictions
    assert head.bias is head.decoder.bias


def test_lora_with_all_biases_counts_such_a_bias_once_as_peft():
    options = {"r": 2, "target_modules": ["query"], "bias": "all"}
    ours = minipeft.get_peft_model(masked_lm(), minipeft.LoraConfig(**options))
    with quiet():
        theirs = peft.get_peft_model(masked_lm(), peft.LoraConfig(**options))
    assert ours.get_nb_trainable_parameters() == theirs.get_nb_trainable_parameters()


class Window(nn.Module):
    """Attention as in Swin: a table of position biases (a matrix) beside a bias (a vector)."""

    def __init__(self) -> None:
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 2))
        self.query = nn.Linear(4, 4)


def test_a_table_of_position_biases_is_no_bias():
    model = minipeft.get_peft_model(Window(), minipeft.BitFitConfig())
    assert set(trained_by_us(model)) == {"query.bias"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_and_autocast(dtype):
    """A bias of its own has 32 bits, and the layer still answers in the base's 16."""
    model = adapted("llama", dtype)
    scramble(trained_by_us(model))
    assert {values.dtype for values in trained_by_us(model).values()} == {torch.float32}
    assert logits(model).dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits(adapted("llama", torch.float32)).sum().backward()


@pytest.mark.parametrize(
    ("family", "options", "words"),
    [
        ("llama", {}, ["LlamaForCausalLM", "no bias", "all-linear"]),
        ("bert", {"bias": "all"}, ["bias='all'", "target_modules=None"]),
        ("bert", {"bias": "lora"}, ["bias='lora'", "none"]),
        ("bert", {"exclude_modules": ["query"]}, ["exclude_modules=['query']", "all-linear"]),
        ("bert", {"layers_to_transform": 1}, ["layers_to_transform=1", "target_modules"]),
        ("bert", {"modules_to_save": ["clasifier"]}, ["'clasifier'", "'classifier'"]),
        ("bert", {"target_modules": ["kwery"]}, ["'kwery'", "'key'"]),
        ("bert", {"target_modules": []}, ["target_modules=[]", "'query'"]),
        ("llama", {"target_modules": ["input_layernorm"]}, ["input_layernorm", "LlamaRMSNorm"]),
    ],
)
def test_bad_input_changes_nothing(family, options, words):
    base = build(family)
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.get_peft_model(base, minipeft.BitFitConfig(**options))
    assert_says(error, *words)


def test_a_config_serves_several_models():
    config = minipeft.BitFitConfig(target_modules="all-linear")
    before = copy.deepcopy(config)
    for family in ("llama", "bert"):
        minipeft.get_peft_model(build(family), config)
    assert config == before
