"""target_modules=None, for LoRA, AdaLoRA, VeRA and (IA)3 on one family after the other."""

import torch
import transformers
from peft import AdaLoraConfig, IA3Config, LoraConfig, VeraConfig, get_peft_model

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "d_model": 32,
    "d_ff": 48,
    "d_kv": 8,
    "num_layers": 2,
    "num_heads": 4,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "head_dim": 8,
    "pad_token_id": 0,
    "word_embed_proj_dim": 32,
    "ffn_dim": 48,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "rotary_dim": 4,
}
FAMILIES = ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2", "GPT2", "Bert", "Roberta"]
FAMILIES += ["T5", "Bart", "OPT", "Bloom", "Falcon", "GPTNeoX", "GPTJ", "Phi", "XLMRoberta"]
FAMILIES += ["Electra", "Deberta", "DebertaV2", "Mpt", "StableLm"]
for family in FAMILIES:
    for config in (LoraConfig(), AdaLoraConfig(total_step=9), VeraConfig(r=4), IA3Config()):
        torch.manual_seed(0)
        sizes = {name: SIZES[name] for name in SIZES if (family, name) != ("Falcon", "head_dim")}
        base = getattr(transformers, f"{family}Model")(
            getattr(transformers, f"{family}Config")(**sizes)
        )
        try:
            model = get_peft_model(base, config)
        except ValueError:
            print(family, type(config).__name__, "asks for target_modules")
            continue
        own = model.peft_config["default"]
        feedforward = sorted(getattr(own, "feedforward_modules", None) or [])
        trained, _ = model.get_nb_trainable_parameters()
        print(family, type(config).__name__, sorted(own.target_modules), feedforward, trained)
