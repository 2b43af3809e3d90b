"""Published models, by their sizes: what their config.json files and papers say."""

from pathlib import Path
from typing import Any

from torch import nn

from minipeft.core.errors import nearest
from minipeft.shapes.architectures import Architecture


def llama(layers: int, hidden: int, inner: int, heads: int, keys: int, **more: Any) -> Architecture:
    """A model of Llama's shape."""
    sizes = {"vocab_size": 32_000, "model_type": "llama", **more}
    return Architecture(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_key_value_heads=keys,
        **sizes,
    )


def gpt(layers: int, hidden: int, heads: int, positions: int = 1024, **more: str) -> Architecture:
    """A model of GPT-2's shape. more: what its config.json says beside the shape."""
    sizes = {"n_layer": layers, "n_embd": hidden, "n_head": heads, "n_positions": positions}
    return Architecture.from_config({"model_type": "gpt2", "vocab_size": 50_257} | sizes | more)


def encoder(model_type: str, layers: int, hidden: int, heads: int, **more: Any) -> Architecture:
    """A model of BERT's kind, its MLP four times as wide as the rest."""
    return Architecture(
        model_type,
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_attention_heads=heads,
        **more,
    )


def bert(layers: int, hidden: int, heads: int, vocab_size: int) -> Architecture:
    """BERT."""
    return encoder("bert", layers, hidden, heads, vocab_size=vocab_size)


def roberta(layers: int, hidden: int, heads: int) -> Architecture:
    """RoBERTa: two positions more than it reads, one type of token."""
    sizes = {"vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1}
    return encoder("roberta", layers, hidden, heads, **sizes)


def deberta(layers: int, hidden: int, heads: int, kernel: int = 0) -> Architecture:
    """DeBERTa, version 2 or 3: positions are relative, in 256 buckets."""
    return encoder(
        "deberta-v2",
        layers,
        hidden,
        heads,
        vocab_size=128_100,
        position_biased_input=False,
        relative_attention=True,
        position_buckets=256,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        conv_kernel_size=kernel,
    )


def t5(layers: int, hidden: int, inner: int, heads: int, dim: int = 64) -> Architecture:
    """T5 as first published: one table of words, no gate."""
    return Architecture(
        "t5",
        vocab_size=32_128,
        d_model=hidden,
        d_ff=inner,
        d_kv=dim,
        num_layers=layers,
        num_heads=heads,
    )


def t5_v1_1(layers: int, hidden: int, inner: int, heads: int) -> Architecture:
    """T5 version 1.1: a head of its own and a gated MLP."""
    return t5(layers, hidden, inner, heads).but(
        feed_forward_proj="gated-gelu", tie_word_embeddings=False
    )


class Published(dict[str, Architecture]):
    """A dictionary that reads "GPT-2 medium" as "gpt2-medium", and names the nearest otherwise."""

    def __missing__(self, name: str) -> Architecture:
        for known in self:
            if plain(known) == plain(name):
                return self[known]
        raise ValueError(f"model {name!r} is not known; {nearest(name, self)}")


def plain(name: str) -> str:
    """A name's letters and digits alone."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


MISTRAL = {"model_type": "mistral"}
T0_3B, T0_11B = t5_v1_1(24, 2048, 5120, 32), t5_v1_1(24, 4096, 10_240, 64)

ARCHITECTURES = Published(
    {
        "llama-7b": llama(32, 4096, 11_008, 32, 32),
        "llama-13b": llama(40, 5120, 13_824, 40, 40),
        "llama-33b": llama(60, 6656, 17_920, 52, 52),
        "llama-65b": llama(80, 8192, 22_016, 64, 64),
        "llama-2-7b": llama(32, 4096, 11_008, 32, 32),
        "llama-2-13b": llama(40, 5120, 13_824, 40, 40),
        "llama-2-70b": llama(80, 8192, 28_672, 64, 8),
        "llama-3-8b": llama(32, 4096, 14_336, 32, 8, vocab_size=128_256),
        "llama-3.1-8b": llama(32, 4096, 14_336, 32, 8, vocab_size=128_256),
        "mistral-7b-v0.1": llama(32, 4096, 14_336, 32, 8, **MISTRAL),
        "mistral-7b-v0.3": llama(32, 4096, 14_336, 32, 8, vocab_size=32_768, **MISTRAL),
        "smollm2-135m": llama(30, 576, 1536, 9, 3, vocab_size=49_152, tie_word_embeddings=True),
        "smollm2-1.7b": llama(24, 2048, 8192, 32, 32, vocab_size=49_152, tie_word_embeddings=True),
        "gpt2": gpt(12, 768, 12),
        "gpt2-small": gpt(12, 768, 12),
        "gpt2-medium": gpt(24, 1024, 16),
        "gpt2-large": gpt(36, 1280, 20),
        "gpt2-xl": gpt(48, 1600, 25),
        "gpt3-175b": gpt(96, 12_288, 96, positions=2048, activation_function="gelu_pytorch_tanh"),
        "bert-base-uncased": bert(12, 768, 12, 30_522),
        "bert-base-cased": bert(12, 768, 12, 28_996),
        "bert-large": bert(24, 1024, 16, 30_522),
        "roberta-base": roberta(12, 768, 12),
        "roberta-large": roberta(24, 1024, 16),
        "deberta-v3-base": deberta(12, 768, 12),
        "deberta-v2-xxl": deberta(48, 1536, 24, kernel=3),
        "vit-b/16": encoder("vit", 12, 768, 12, num_labels=1000),
        "t5-small": t5(6, 512, 2048, 8),
        "t5-base": t5(12, 768, 3072, 12),
        "t5-large": t5(24, 1024, 4096, 16),
        "t5-3b": t5(24, 1024, 16_384, 32, dim=128),
        "t5-11b": t5(24, 1024, 65_536, 128, dim=128),
        "t5-v1.1-small": t5_v1_1(8, 512, 1024, 6),
        "t5-v1.1-base": t5_v1_1(12, 768, 2048, 12),
        "t5-v1.1-large": t5_v1_1(24, 1024, 2816, 16),
        "t5-v1.1-xl": T0_3B,
        "t5-v1.1-xxl": T0_11B,
        "t0-3b": T0_3B,
        "t0-11b": T0_11B,
    }
)


def find_architecture(wanted: object) -> Architecture:
    """The architecture that is meant: one already, a name, a config as a dict or file, or a model.

    Raises ValueError for a name, a family or a size that isn't known, FileNotFoundError for a file
    that isn't there.
    """
    if isinstance(wanted, Architecture):
        return wanted
    if isinstance(wanted, nn.Module):
        return architecture_of(wanted)
    if isinstance(wanted, dict | Path):
        return Architecture.from_config(wanted)
    name = str(wanted)
    named = plain(name) in map(plain, ARCHITECTURES)  # a name goes before a folder called so
    if name and not named and (name.endswith(".json") or Path(name).exists()):
        return Architecture.from_config(name)
    return ARCHITECTURES[name]


def architecture_of(model: nn.Module) -> Architecture:
    """The architecture that a model's own `config` describes. Raises ValueError without one."""
    return Architecture.from_config(
        config_of(model).to_dict() | {"architectures": [type(model).__name__]}
    )


def config_of(model: nn.Module) -> Any:
    """The config of a model. Raises ValueError for a model that has none."""
    config = getattr(model, "config", None)
    if not hasattr(config, "to_dict"):
        raise ValueError(
            f"{type(model).__name__} has no config that says its architecture; give an "
            "Architecture, or a name such as 'llama-7b'"
        )
    return config
