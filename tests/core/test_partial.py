"""Partial fine-tuning beside plain PyTorch: the same parameters, with requires_grad set by hand."""

import pytest
import torch
import transformers
from torch import nn

import minipeft
from minipeft.models.llama import Llama
from minipeft.models.llama import LlamaConfig as OurLlamaConfig
from tests.closeness import assert_all_close

from .models import HIDDEN, LAYERS, VOCABULARY, build, logits, toy
from .peers import gradients, scramble, trained_by_us
from .snapshots import assert_says, assert_unchanged, take, unchanged

LISTS = {"llama": "model.layers", "gpt2": "transformer.h", "bert": "bert.encoder.layer"}
NORMS = {"llama": "norm", "gpt2": "ln_", "bert": "LayerNorm"}  # in the names of the norms alone
CASES = {
    "last block": {"last_layers": 1},
    "last two": {"last_layers": 2},
    "norms": {"norms": True},
    "both": {"last_layers": 1, "norms": True},
}


def is_meant(name: str, family: str, options: dict) -> bool:
    first = LAYERS - options.get("last_layers", 0)
    blocks = tuple(f"{LISTS[family]}.{number}." for number in range(first, LAYERS))
    return name.startswith(blocks) or (options.get("norms", False) and NORMS[family] in name)


def by_hand(family: str, options: dict) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    model = build(family, torch.float64)
    for name, values in model.named_parameters():
        values.requires_grad_(is_meant(name, family, options))
    return model, {n: values for n, values in model.named_parameters() if values.requires_grad}


def partial(family: str, options: dict, dtype: torch.dtype = torch.float64) -> minipeft.PeftModel:
    return minipeft.get_peft_model(build(family, dtype), minipeft.PartialConfig(**options))


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
def test_equals_training_by_hand(family, options):
    """Names, count, outputs, gradients, and three steps of AdamW."""
    theirs, hand = by_hand(family, options)
    ours = partial(family, options)
    mine = trained_by_us(ours)
    assert sorted(mine) == sorted(hand) and hand
    count = sum(values.numel() for values in hand.values())
    assert ours.get_nb_trainable_parameters() == (
        count,
        sum(v.numel() for v in theirs.parameters()),
    )
    assert torch.equal(logits(ours), logits(theirs))  # step 0 is the base, bit for bit
    scramble(mine), scramble(hand)
    optimizers = [torch.optim.AdamW(values.values(), lr=0.1) for values in (mine, hand)]
    for _ in range(3):
        expected, found = gradients(theirs, hand), gradients(ours, mine)
        assert_all_close(found, expected)
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(logits(ours), logits(theirs))


def test_merging_keeps_what_was_learned(family):
    """It stands in the base's places already: merging moves nothing, and loses nothing."""
    base = build(family)
    before_all = {name: v.requires_grad for name, v in base.named_parameters()}
    model = minipeft.get_peft_model(base, minipeft.PartialConfig(last_layers=1))
    scramble(trained_by_us(model))
    learned = {name: values.detach().clone() for name, values in trained_by_us(model).items()}
    answer, before = logits(model), take(model)
    assert model.merge_adapter(safe_merge=True) == {}
    assert torch.equal(logits(model), answer)
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(build(family)))
    model.unmerge_adapter()
    assert_unchanged(model, before)
    released = model.merge_and_unload()
    assert released is base and torch.equal(logits(base), answer)
    for name, values in base.state_dict().items():
        expected = learned.get(name, build(family).state_dict()[name])
        assert torch.equal(values, expected), name
    assert {name: v.requires_grad for name, v in base.named_parameters()} == before_all


def gpt2_medium() -> nn.Module:
    options = {"n_embd": 1024, "n_layer": 24, "n_head": 16}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**options))


def t0_3b() -> nn.Module:
    options = {"d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32}
    options |= {"vocab_size": 32_128, "feed_forward_proj": "gated-gelu"}
    config = transformers.T5Config(**options, tie_word_embeddings=False)
    return transformers.T5ForConditionalGeneration(config)


def bert_base() -> nn.Module:
    return transformers.BertModel(transformers.BertConfig())


@pytest.mark.parametrize(
    ("build_it", "options", "count", "total"),
    [
        (gpt2_medium, {"last_layers": 2}, 25_192_448, 354_823_168),
        (t0_3b, {"norms": True}, 249_856, 2_849_757_184),
        (bert_base, {"norms": True}, 38_400, 109_482_240),
    ],
    ids=["GPT-2 medium, top 2", "T0-3B, norms", "BERT-base, norms"],
)
def test_counts_of_published_models(build_it, options, count, total):
    """LoRA, table 3: 25.19M. T-Few, appendix D: 250K. Houlsby et al., section 3.4: 40k."""
    with torch.device("meta"):
        model = minipeft.get_peft_model(build_it(), minipeft.PartialConfig(**options))
    assert model.get_nb_trainable_parameters() == (count, total)
    trained = trained_by_us(model)
    assert count == sum(values.numel() for values in trained.values())
    if build_it is bert_base:
        assert sum(v.numel() for n, v in trained.items() if ".layer." in n) == 36_864


def t5() -> nn.Module:
    sizes = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4}
    config = transformers.T5Config(**sizes, vocab_size=VOCABULARY, decoder_start_token_id=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.T5ForConditionalGeneration(config).eval()


def test_an_encoder_and_a_decoder():
    """Two lists of blocks: which one is meant must be said."""
    base = t5()
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.get_peft_model(base, minipeft.PartialConfig(last_layers=1))
    assert_says(error, "last_layers=1", "encoder.block with 2", "decoder.block with 2", "block.1")
    model = minipeft.get_peft_model(base, minipeft.PartialConfig(blocks=["decoder.block.1"]))
    assert set(trained_by_us(model)) == {
        name for name, _ in t5().named_parameters() if name.startswith("decoder.block.1.")
    }


def vit() -> nn.Module:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
    config = transformers.ViTConfig(**sizes, num_attention_heads=2, image_size=8, patch_size=4)
    return transformers.ViTForImageClassification(config)


def our_llama() -> nn.Module:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 36}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return Llama(OurLlamaConfig(**sizes, **heads, num_hidden_layers=2))


def torch_encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)


@pytest.mark.parametrize(
    ("build_it", "block"),
    [(vit, "vit.encoder.layer.2."), (our_llama, "model.layers.1."), (torch_encoder, "layers.1.")],
)
def test_other_models(build_it, block):
    base = build_it()
    expected = {name for name, _ in base.named_parameters() if name.startswith(block)}
    model = minipeft.get_peft_model(base, minipeft.PartialConfig(last_layers=1))
    assert expected and set(trained_by_us(model)) == expected


def tied() -> nn.Module:
    config = transformers.GPT2Config(VOCABULARY, 32, HIDDEN, 2, 4)
    return transformers.GPT2LMHeadModel(config).eval()


def test_tied_embeddings_and_head_are_trained_as_one_or_not_at_all():
    base = tied()
    for name in ("wte", "lm_head"):
        config = minipeft.PartialConfig(last_layers=1, modules_to_save=[name])
        with unchanged(base), pytest.raises(ValueError) as error:
            minipeft.get_peft_model(base, config)
        assert_says(error, "transformer.wte", "lm_head", "untie")
    config = minipeft.PartialConfig(last_layers=1, modules_to_save=["wte", "lm_head"])
    model = minipeft.get_peft_model(base, config)
    assert base.lm_head.weight is base.transformer.wte.weight
    block = sum(values.numel() for values in tied().transformer.h[1].parameters())
    assert model.get_nb_trainable_parameters()[0] == block + VOCABULARY * HIDDEN
    released = model.merge_and_unload()
    assert released.lm_head.weight is released.transformer.wte.weight


def test_tied_embeddings_named_as_blocks_stay_tied():
    """Trained in place there is one copy for both, and the base's is back after unload."""
    base = tied()
    with unchanged(base):
        model = minipeft.get_peft_model(base, minipeft.PartialConfig(blocks=["wte"]))
        assert base.lm_head.weight is base.transformer.wte.weight
        assert model.get_nb_trainable_parameters()[0] == VOCABULARY * HIDDEN
        model.unload()
    assert base.lm_head.weight is base.transformer.wte.weight


def test_a_linear_probe():
    model = partial("bert", {"modules_to_save": ["classifier"]})
    assert set(trained_by_us(model)) == {"classifier.weight", "classifier.bias"}
    with_norms = partial("bert", {"norms": True} | {"task_type": "SEQ_CLS"})
    assert "classifier.weight" in trained_by_us(with_norms)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["last_layers=0", "norms=False", "norms=True"]),
        ({"last_layers": -1}, ["last_layers=-1", "smallest is 0"]),
        ({"last_layers": True}, ["last_layers=True", "whole number"]),
        ({"last_layers": 4}, ["last_layers=4", "bert.encoder.layer", "3 blocks"]),
        ({"norms": 1}, ["norms=1", "True, False"]),
        ({"blocks": "layer.1"}, ["blocks='layer.1'", "list of str"]),
        ({"blocks": ["layer.7"]}, ["blocks='layer.7'", "BertForSequenceClassification", "layer."]),
        ({"blocks": ["layer.1"], "last_layers": 2}, ["last_layers=2", "blocks=['layer.1']"]),
        ({"modules_to_save": ["clasifier"]}, ["'clasifier'", "'classifier'"]),
    ],
)
def test_bad_input_changes_nothing(options, words):
    base = build("bert")
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.get_peft_model(base, minipeft.PartialConfig(**options))
    assert_says(error, *words)


def test_a_model_without_blocks_or_norms():
    base = toy()
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.get_peft_model(base, minipeft.PartialConfig(last_layers=1))
    assert_says(error, "last_layers=1", "Toy has no lists of blocks", "blocks=")
    del base.norm
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.get_peft_model(base, minipeft.PartialConfig(norms=True))
    assert_says(error, "norms=True", "Toy", "no normalization layer")


def test_a_file_of_a_deeper_model_is_refused(tmp_path):
    partial("bert", {"last_layers": 1}).save_pretrained(tmp_path)
    base = build("bert")
    del base.bert.encoder.layer[2]
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.PeftModel.from_pretrained(base, tmp_path)
    assert_says(error, "bert.encoder.layer.2", "bert.encoder.layer.1")
