"""A model in four bits, saved by transformers' own save_pretrained, opens in transformers."""

import pytest
import torch
import transformers
from torch import nn

import minipeft
from minipeft.quant import Linear4bit

from .test_kept_dense import BERT, IDS, T5

GPT2 = {"vocab_size": 96, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 32}
MODELS = {
    "LlamaForCausalLM": BERT,
    "LlamaForSequenceClassification": BERT | {"pad_token_id": 0},
    "GPT2LMHeadModel": GPT2,
    "BertForSequenceClassification": BERT,
    "T5ForConditionalGeneration": T5,
    "OPTForCausalLM": BERT | {"ffn_dim": 128, "word_embed_proj_dim": 64},
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    return kind(kind.config_class(**MODELS[name])).eval()


def answer(model: nn.Module) -> torch.Tensor:
    more = {"decoder_input_ids": IDS[:, :6]} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model(input_ids=IDS, **more)[0]


@pytest.mark.parametrize("options", [{}, {"quant_type": "fp4", "double_quant": False}], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_opens_and_answers_the_same(tmp_path, name, options):
    ours = minipeft.quantize_model(build(name), **options)
    ours.save_pretrained(tmp_path)
    theirs = type(ours).from_pretrained(tmp_path, device_map="cpu", dtype=torch.float32).eval()
    for layer in theirs.modules():
        layer.train(type(layer).__name__ == "Linear4bit")  # then it never repacks for a CPU
    packed = {p for p, m in ours.named_modules() if isinstance(m, Linear4bit)}
    assert packed == {p for p, m in theirs.named_modules() if type(m).__name__ == "Linear4bit"}
    mine, found = answer(ours), answer(theirs)
    assert (found - mine).norm() <= 1e-4 * mine.norm()


def test_with_names_of_ones_own_and_after_a_second_call(tmp_path):
    """The note says how things are: what stayed dense, and what was quantized later."""
    model = minipeft.quantize_model(build("LlamaForCausalLM"), skip=["down_proj"])
    assert len(model.config.quantization_config["llm_int8_skip_modules"]) == 2 + 1
    minipeft.quantize_model(model)
    assert model.config.quantization_config["llm_int8_skip_modules"] == ["lm_head"]
    model.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, device_map="cpu")
    assert type(again.model.layers[0].mlp.down_proj).__name__ == "Linear4bit"


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]], ids=str)
def test_after_a_merge(tmp_path, targets):
    """W' of 16 bits where an adapter was: all of the layers, or some of them."""
    base = minipeft.quantize_model(build("LlamaForCausalLM"))
    config = minipeft.LoraConfig(target_modules=targets, init_lora_weights=False)
    plain = minipeft.get_peft_model(base, config).eval().merge_and_unload()
    plain.save_pretrained(tmp_path)
    again = type(plain).from_pretrained(tmp_path, device_map="cpu", dtype=torch.float32)
    assert hasattr(again.config, "quantization_config") == (targets != "all-linear")
    mine, found = answer(plain), answer(again.train())
    assert (found - mine).norm() <= 2e-2 * mine.norm()  # ours multiplies W' in 16 bits


@pytest.mark.parametrize("quant_type", ["int4", "e2m1"])
def test_types_that_bitsandbytes_lacks_are_refused(tmp_path, quant_type):
    model = minipeft.quantize_model(build("LlamaForCausalLM"), quant_type=quant_type)
    with pytest.raises(ValueError, match=f"'{quant_type}' has no place in a bitsandbytes"):
        model.save_pretrained(tmp_path)


def test_models_of_ones_own_get_no_note():
    model = minipeft.quantize_model(nn.Sequential(nn.Linear(64, 64)))
    assert not hasattr(model, "config")
