"""The target_modules of an adapter that names none, by the base's `model_type`.

One table for LoRA and its relatives and one for (IA)^3, with peft's choices: an adapter made
without target_modules is the same here and there. (That (IA)^3 scales Qwen 2's queries in place of
its keys is peft's choice, not the paper's.) peft has no bottleneck adapters.
"""

QV = ("q_proj", "v_proj")

# LoRA's: attention's queries and values, or the one matrix that holds them.
ATTENTION: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("llama", "llama4", "mistral", "mixtral", "qwen2", "qwen3", "stablelm"), QV),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text", "opt", "gptj", "gpt_neo", "bart"), QV),
    **dict.fromkeys(("gpt2", "gpt_bigcode"), ("c_attn",)),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra", "layoutlm"), ("query", "value")),
    **dict.fromkeys(("bloom", "falcon", "gpt_neox", "chatglm"), ("query_key_value",)),
    **dict.fromkeys(("t5", "mt5"), ("q", "v")),
    "blip-2": ("q", "v", "q_proj", "v_proj"),
    "btlm": ("c_proj", "c_attn"),
    "codegen": ("qkv_proj",),
    "deberta": ("in_proj",),
    "deberta-v2": ("query_proj", "value_proj"),
    "mpt": ("Wqkv",),
    "phi": ("q_proj", "v_proj", "fc1", "fc2"),
}

# AdaLoRA's: the same, but for these; the other families of ATTENTION have none.
ADALORA: dict[str, tuple[str, ...]] = {
    family: ATTENTION[family]
    for family in (
        *("bert", "bloom", "deberta", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_bigcode"),
        *("gpt_neo", "gpt_neox", "gptj", "llama", "llama4", "qwen2", "qwen3"),
    )
} | {
    **dict.fromkeys(("bart", "opt"), ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")),
    "deberta-v2": ("query_proj", "key_proj", "value_proj", "dense"),
    "mt5": ("q", "k", "v", "o", "wi_0", "wi_1", "wo"),
    "roberta": ("query", "key", "value", "dense"),
    "t5": ("q", "k", "v", "o", "wi", "wo"),
}

# (IA)^3's; the last one is the feed-forward module, but for mt5.
IA3: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("llama", "mistral"), ("k_proj", "v_proj", "down_proj")),
    **dict.fromkeys(
        ("llama4", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"),
        ("q_proj", "v_proj", "down_proj"),
    ),
    **dict.fromkeys(("gpt2", "gpt_bigcode"), ("c_attn", "mlp.c_proj")),
    **dict.fromkeys(("bert", "roberta"), ("key", "value", "output.dense")),
    **dict.fromkeys(("falcon", "gpt_neox"), ("query_key_value", "dense_4h_to_h")),
    "bart": ("q_proj", "v_proj", "fc2"),
    "bloom": ("query_key_value", "mlp.dense_4h_to_h"),
    "deberta": ("in_proj", "output.dense"),
    "deberta-v2": ("key_proj", "value_proj", "output.dense"),
    "gpt_neo": ("q_proj", "v_proj", "c_proj"),
    "gptj": ("q_proj", "v_proj", "fc_out"),
    "mixtral": ("k_proj", "v_proj", "w2"),
    "opt": ("q_proj", "k_proj", "fc2"),
    "phi": ("q_proj", "v_proj", "fc2"),
    "t5": ("k", "v", "wo"),
}

# Bottleneck adapters', by style first. The norm before the MLP shows the adapter its input, x.
# BERT's norms come after the sum, and x is out of reach: on BERT "pfeiffer" is half a "houlsby".
LLAMA, BERT = ("llama", "mistral", "qwen2"), ("bert", "roberta")
BOTTLENECK: dict[str, dict[str, tuple[str, ...] | str]] = {
    "houlsby": dict.fromkeys(LLAMA, ("self_attn.o_proj", "mlp.down_proj"))
    | dict.fromkeys((*BERT, "vit"), ("output.dense",))
    | {"gpt2": ("attn.c_proj", "mlp.c_proj")},
    "pfeiffer": dict.fromkeys(LLAMA, ("mlp.down_proj", "post_attention_layernorm"))
    | dict.fromkeys(BERT, r".*\.\d+\.output\.dense")
    | {"vit": r".*\.\d+\.(output\.dense|layernorm_after)", "gpt2": ("mlp.c_proj", "ln_2")},
    "parallel": dict.fromkeys(LLAMA, ("mlp", "post_attention_layernorm"))
    | {"gpt2": ("mlp", "ln_2")},
}
