"""Families that are not written here: transformers builds them on meta, counted as peft does.

The same with lists of names, with canonical names, and without transformers.
"""

import subprocess
import sys
import warnings

import peft
import pytest
import torch
import transformers
from torch import nn

import minipeft
from minipeft.budget import Architecture, count_parameters, memory_budget

from .measure import bytes_of, saved_tensors

SIZES = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 128}
SIZES |= {"num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = SIZES | {"num_key_value_heads": 2, "head_dim": 16}
CAUSAL = transformers.AutoModelForCausalLM
TEXT_TO_TEXT = transformers.AutoModelForSeq2SeqLM
CLASSIFIER = transformers.AutoModelForSequenceClassification
SIDES = {f"{side}_{name}": size for side in ("encoder", "decoder")
         for name, size in {"layers": 2, "attention_heads": 4, "ffn_dim": 128}.items()}  # fmt: skip
SHORT = {"vocab_size": 96, "hidden_size": 64, "n_layer": 2, "n_head": 4}

# A config, the class that builds it, and names that people target there.
FAMILIES = {
    "qwen3": (transformers.Qwen3Config(**GROUPED), CAUSAL, ["q_proj", "v_proj"]),
    "gemma": (transformers.GemmaConfig(**GROUPED), CAUSAL, ["q_proj", "down_proj"]),
    "gemma2": (transformers.Gemma2Config(**GROUPED), CAUSAL, ["k_proj"]),
    "gemma3_text": (transformers.Gemma3TextConfig(**GROUPED), CAUSAL, ["q_proj", "v_proj"]),
    "phi": (transformers.PhiConfig(**SIZES), CAUSAL, ["q_proj", "dense"]),
    "phi3": (
        transformers.Phi3Config(**SIZES, num_key_value_heads=2, pad_token_id=0),
        CAUSAL,
        ["qkv_proj"],
    ),
    "mixtral": (
        transformers.MixtralConfig(**SIZES, num_key_value_heads=2, num_local_experts=6),
        CAUSAL,
        ["q_proj", "w1"],
    ),
    "falcon": (
        transformers.FalconConfig(
            vocab_size=96, hidden_size=64, num_hidden_layers=2, num_attention_heads=4
        ),
        CAUSAL,
        ["query_key_value"],
    ),
    "opt": (
        transformers.OPTConfig(
            vocab_size=96, hidden_size=64, ffn_dim=128, num_hidden_layers=2,
            num_attention_heads=4, word_embed_proj_dim=64,
        ),
        CAUSAL,
        ["q_proj", "fc1"],
    ),
    "bart": (transformers.BartConfig(vocab_size=96, d_model=64, **SIDES), TEXT_TO_TEXT, ["fc2"]),
    "pegasus": (
        transformers.PegasusConfig(vocab_size=96, d_model=64, **SIDES),
        TEXT_TO_TEXT,
        ["q_proj"],
    ),
    "distilbert": (
        transformers.DistilBertConfig(vocab_size=96, dim=64, hidden_dim=128, n_layers=2, n_heads=4),
        CLASSIFIER,
        ["q_lin"],
    ),
    "electra": (transformers.ElectraConfig(**SIZES), CLASSIFIER, ["query"]),
    "gpt_neox": (transformers.GPTNeoXConfig(**SIZES), CAUSAL, ["query_key_value"]),
    "bloom": (transformers.BloomConfig(**SHORT), CAUSAL, ["query_key_value"]),
    "mpt": (
        transformers.MptConfig(vocab_size=96, d_model=64, n_layers=2, n_heads=4),
        CAUSAL,
        ["Wqkv"],
    ),
    "clip_text_model": (transformers.CLIPTextConfig(**SIZES), transformers.AutoModel, ["q_proj"]),
}  # fmt: skip


def real_and_fields(family: str) -> tuple[nn.Module, dict]:
    config, auto, _ = FAMILIES[family]
    with torch.device("meta"):
        real = auto.from_config(config)
    return real, config.to_dict() | {"architectures": [type(real).__name__]}


@pytest.mark.parametrize("everywhere", [True, False], ids=["all-linear", "named"])
@pytest.mark.parametrize("family", FAMILIES)
def test_counts_are_those_of_peft_on_the_real_model(family, everywhere):
    real, fields = real_and_fields(family)
    r = 2 if FAMILIES[family][1] is CLASSIFIER else 4  # a classifier of two labels takes no more
    given = {"r": r, "target_modules": "all-linear" if everywhere else FAMILIES[family][2]}
    ours = count_parameters(fields, minipeft.LoraConfig(**given))
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        theirs = peft.get_peft_model(real, peft.LoraConfig(**given))
    assert (ours.trainable, ours.total) == theirs.get_nb_trainable_parameters()


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "mixtral"])
def test_canonical_names_are_one_matrix_each(family):
    """Mixtral's experts have names of their own for theirs."""
    shape = count_parameters(
        real_and_fields(family)[1],
        minipeft.LoraConfig(r=1, target_modules=["q_proj", "o_proj", "down_proj"]),
    )
    attentions = 6 if family in ("bart", "pegasus") else 2
    mlps = 4 if family in ("bart", "pegasus") else 2
    inner = 256 if family in ("falcon", "bloom", "mpt") else 128
    assert shape.trainable == attentions * 2 * (64 + 64) + mlps * (inner + 64)


MEASURED = [name for name in FAMILIES if name not in ("mixtral", "falcon", "clip_text_model")]


@pytest.mark.parametrize("family", MEASURED)
def test_activations_are_those_of_the_real_model(family):
    """A real model on a CPU, whose dropout is off: within 5%."""
    config, auto, targets = FAMILIES[family]
    for name in vars(config):
        if "drop" in name and isinstance(getattr(config, name), float):
            setattr(config, name, 0.0)
    torch.manual_seed(0)
    base = auto.from_config(config)
    base.config.use_cache = False
    lora = minipeft.LoraConfig(r=2, target_modules=targets)
    budget = memory_budget(base, lora, batch=2, length=16, target_length=16)
    assert "estimate" not in budget.notes["activations"]
    model = minipeft.get_peft_model(base, lora).train()
    tokens = torch.randint(3, 90, (2, 16))
    more = {"decoder_input_ids": tokens} if config.is_encoder_decoder else {}
    with saved_tensors(model) as saved:
        model(input_ids=tokens, **more)
    assert budget.rows["activations"] == pytest.approx(bytes_of(saved), rel=0.05)


def test_a_model_that_looks_at_numbers_is_estimated_and_says_so():
    """Mixtral sends each token to experts by its numbers."""
    budget = memory_budget(real_and_fields("mixtral")[1], length=16)
    assert "an estimate: MixtralForCausalLM can't be run without numbers" in budget.table()
    assert budget.rows["activations"] > 0


def test_without_a_class_name_a_family_has_its_usual_head():
    assert Architecture.from_config(FAMILIES["opt"][0].to_dict()).head == "CAUSAL_LM"
    assert Architecture.from_config(FAMILIES["bart"][0].to_dict()).head == "SEQ_2_SEQ_LM"
    assert Architecture.from_config(FAMILIES["electra"][0].to_dict()).head == "FEATURE_EXTRACTION"
    assert Architecture("opt", head="SEQ_CLS", num_labels=3).head == "SEQ_CLS"


@pytest.mark.parametrize("name", ["BertForPreTraining", "T5EncoderModel", "GPT2DoubleHeadsModel"])
def test_a_class_that_transformers_alone_has(name):
    kind = {"B": "bert", "T": "t5", "G": "gpt2"}[name[0]]
    built = getattr(transformers, name)
    with torch.device("meta"):
        real = built(built.config_class())
    fields = {"architectures": [name], "model_type": kind}
    fields = built.config_class().to_dict() | fields
    assert Architecture.from_config(fields).total == real.num_parameters()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "qwen33"}, "model_type='qwen33' is not known; nearest: .*'qwen3'"),
        ({"model_type": "opt", "hidden_size": "8"}, "transformers can't build model_type='opt'"),
        ({"model_type": "t5", "architectures": ["T5ForDreaming"]}, "'T5ForDreaming' is not known"),
    ],
)
def test_clear_errors(fields, message):
    with pytest.raises(ValueError, match=message):
        count_parameters(fields)


def test_old_names_of_a_head():
    """Early files of T5 say so."""
    shape = {"d_ff": 2048, "d_kv": 64, "d_model": 512, "num_heads": 8, "num_layers": 6}
    fields = {"model_type": "t5", "vocab_size": 32_128, "architectures": ["T5WithLMHeadModel"]}
    assert count_parameters(fields | shape).total == 60_506_624  # T5-small


WITHOUT = """
import sys
sys.modules["transformers"] = None
import minipeft
from minipeft.budget import count_parameters, memory_budget
lora = minipeft.LoraConfig(r=8, target_modules=["q_proj", "v_proj"])
assert count_parameters("roberta-base", lora).trainable == 294_912
s, b, h, a = 2048, 1, 12_288, 96
options = {"length": s, "dtype": "float16", "attention": "eager"}
budget = memory_budget("gpt3-175b", **options)
assert budget.rows["activations"] == 96 * s * b * h * (34 + 5 * a * s / h), budget.rows
assert "an estimate: transformers" in budget.table()
assert "estimate" not in memory_budget("llama-2-7b", lora).table()
try:
    count_parameters({"model_type": "qwen3"})
except ValueError as error:
    assert "transformers, where it is installed, knows more" in str(error), error
else:
    raise AssertionError
"""


def test_without_transformers_the_families_written_here_are_counted_and_budgeted():
    """Korthikanti et al. 2022, equation 1, is the closed formula."""
    result = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


QUANTIZED = {
    "quant_method": "bitsandbytes",
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
}


def test_a_config_that_says_its_weights_lie_in_four_bits():
    fields = {"model_type": "llama", "vocab_size": 128_256, "hidden_size": 4096}
    fields |= {"intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32}
    fields |= {"num_key_value_heads": 8}
    dense = memory_budget("llama-3-8b", training=False, quantization="nf4_double").rows
    told = memory_budget(fields | {"quantization_config": QUANTIZED}, training=False).rows
    assert told == dense
    single = QUANTIZED | {"bnb_4bit_use_double_quant": False}
    told = memory_budget(fields | {"quantization_config": single}, training=False).rows
    assert told == memory_budget("llama-3-8b", training=False, quantization="nf4").rows
    for other in ({"quant_method": "gptq", "bits": 4}, {"load_in_8bit": True}):
        with pytest.raises(ValueError, match=r"quantization_config=.* isn't budgeted here"):
            memory_budget(fields | {"quantization_config": other})
