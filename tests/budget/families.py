"""Random shapes of every family, as configs of Hugging Face transformers. Nothing is downloaded."""

import random
from collections.abc import Callable

import torch
import transformers
from torch import nn

SEEDS = range(12)


def llama(pick: random.Random) -> transformers.PretrainedConfig:
    head_dim, groups = pick.choice([2, 4, 8]), pick.choice([1, 2, 4])
    kv_heads = pick.choice([1, 2, 3])
    heads = groups * kv_heads
    return transformers.LlamaConfig(
        vocab_size=pick.randint(10, 90),
        hidden_size=pick.choice([heads * head_dim, 24, 30]),
        intermediate_size=pick.randint(5, 50),
        num_hidden_layers=pick.randint(1, 4),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        attention_bias=pick.random() < 0.3,
        mlp_bias=pick.random() < 0.3,
        tie_word_embeddings=pick.random() < 0.5,
    )


def like_llama(config: type) -> Callable:
    def build(pick: random.Random) -> transformers.PretrainedConfig:
        fields = llama(pick).to_dict()
        for name in ("attention_bias", "mlp_bias", "model_type", "architectures"):
            fields.pop(name)
        return config(**fields)

    return build


def gpt2(pick: random.Random) -> transformers.PretrainedConfig:
    heads = pick.choice([1, 2, 3])
    return transformers.GPT2Config(
        vocab_size=pick.randint(10, 90),
        n_embd=heads * pick.choice([4, 8]),
        n_layer=pick.randint(1, 4),
        n_head=heads,
        n_positions=pick.randint(8, 64),
        n_inner=pick.choice([None, 20]),
    )


def bert_sizes(pick: random.Random) -> dict:
    heads = pick.choice([1, 2, 3])
    return {
        "hidden_size": heads * pick.choice([4, 8]),
        "num_attention_heads": heads,
        "intermediate_size": pick.randint(5, 50),
        "num_hidden_layers": pick.randint(1, 4),
        "num_labels": pick.randint(2, 5),
    }


def bert_words(pick: random.Random) -> dict:
    return {
        "vocab_size": pick.randint(10, 90),
        "max_position_embeddings": pick.randint(16, 64),
        "type_vocab_size": pick.randint(1, 3),
    }


def bert(pick: random.Random) -> transformers.PretrainedConfig:
    return transformers.BertConfig(**bert_sizes(pick), **bert_words(pick))


def roberta(pick: random.Random) -> transformers.PretrainedConfig:
    return transformers.RobertaConfig(**bert_sizes(pick), **bert_words(pick))


def deberta_v2(pick: random.Random) -> transformers.PretrainedConfig:
    relative = pick.random() < 0.7
    return transformers.DebertaV2Config(
        **bert_sizes(pick),
        **bert_words(pick) | {"type_vocab_size": pick.choice([0, 2])},
        position_biased_input=pick.random() < 0.5,
        relative_attention=relative,
        position_buckets=pick.choice([-1, 6]),
        max_relative_positions=pick.choice([-1, 9]),
        share_att_key=pick.random() < 0.5,
        pos_att_type=pick.choice([None, "p2c|c2p", "c2p"]),
        norm_rel_ebd=pick.choice(["none", "layer_norm"]),
        conv_kernel_size=pick.choice([0, 3]),
    )


def t5_sizes(pick: random.Random) -> dict:
    return {
        "vocab_size": pick.randint(10, 90),
        "d_model": pick.choice([12, 16, 20]),
        "d_kv": pick.choice([4, 8]),
        "d_ff": pick.randint(5, 50),
        "num_layers": pick.randint(1, 3),
        "num_decoder_layers": pick.choice([None, 1, 4]),
        "num_heads": pick.choice([1, 2, 3]),
        "relative_attention_num_buckets": pick.randint(4, 9),
    }


def t5(pick: random.Random) -> transformers.PretrainedConfig:
    return transformers.T5Config(
        **t5_sizes(pick),
        feed_forward_proj=pick.choice(["relu", "gated-gelu"]),
        tie_word_embeddings=pick.random() < 0.5,
    )


def mt5(pick: random.Random) -> transformers.PretrainedConfig:
    return transformers.MT5Config(**t5_sizes(pick))


def vit(pick: random.Random) -> transformers.PretrainedConfig:
    patch = pick.choice([2, 4])
    return transformers.ViTConfig(
        **bert_sizes(pick),
        image_size=patch * pick.randint(2, 5),
        patch_size=patch,
        num_channels=pick.choice([1, 3]),
        qkv_bias=pick.random() < 0.5,
    )


def whisper(pick: random.Random) -> transformers.PretrainedConfig:
    heads = pick.choice([1, 2])
    return transformers.WhisperConfig(
        vocab_size=pick.randint(10, 90),
        d_model=12 * heads,
        encoder_layers=pick.randint(1, 3),
        decoder_layers=pick.randint(1, 3),
        encoder_attention_heads=heads,
        decoder_attention_heads=pick.choice([2, 3]),
        encoder_ffn_dim=pick.randint(5, 50),
        decoder_ffn_dim=pick.randint(5, 50),
        num_mel_bins=pick.randint(4, 9),
        max_source_positions=pick.randint(8, 20),
        max_target_positions=pick.randint(8, 20),
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )


CONFIGS = {
    "llama": llama,
    "mistral": like_llama(transformers.MistralConfig),
    "qwen2": like_llama(transformers.Qwen2Config),
    "gpt2": gpt2,
    "bert": bert,
    "roberta": roberta,
    "deberta-v2": deberta_v2,
    "t5": t5,
    "mt5": mt5,
    "vit": vit,
    "whisper": whisper,
}
LANGUAGE = (transformers.AutoModelForCausalLM, "CAUSAL_LM")
SEQUENCE = (transformers.AutoModelForSequenceClassification, "SEQ_CLS")
TOKENS = (transformers.AutoModelForTokenClassification, "TOKEN_CLS")
QUESTIONS = (transformers.AutoModelForQuestionAnswering, "QUESTION_ANS")
MASKED = (transformers.AutoModelForMaskedLM, "MASKED_LM")
BASE = (transformers.AutoModel, "FEATURE_EXTRACTION")
TEXT_TO_TEXT = (transformers.AutoModelForSeq2SeqLM, "SEQ_2_SEQ_LM")
HEADS = {  # the usual head first
    **dict.fromkeys(["llama", "mistral", "qwen2", "gpt2"], (LANGUAGE, SEQUENCE, TOKENS, BASE)),
    **dict.fromkeys(["bert", "roberta"], (BASE, SEQUENCE, TOKENS, QUESTIONS, MASKED)),
    "deberta-v2": (BASE, SEQUENCE, TOKENS, QUESTIONS),
    **dict.fromkeys(["t5", "mt5"], (TEXT_TO_TEXT, BASE)),
    "vit": ((transformers.AutoModelForImageClassification, "SEQ_CLS"), BASE),
    "whisper": ((transformers.AutoModelForSpeechSeq2Seq, "SEQ_2_SEQ_LM"), BASE),
}


def config(family: str, seed: int) -> transformers.PretrainedConfig:
    """The same random config for the same seed."""
    return CONFIGS[family](random.Random(f"{family} {seed}"))


def model(config: transformers.PretrainedConfig, auto: type) -> nn.Module:
    """The real model of this config, on the meta device."""
    with torch.device("meta"):
        return auto.from_config(config)
