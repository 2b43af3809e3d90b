"""Tiny random models of three families, built from transformers configs: nothing is downloaded."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

VOCABULARY = 40
HIDDEN = 24
LAYERS = 3


def _llama() -> nn.Module:
    """Grouped-query attention: four query heads share two key/value heads."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            intermediate_size=36,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32,
            attn_implementation="eager",
        )
    )


def _gpt2() -> nn.Module:
    """Fused attention in Conv1D layers, stored as (in, out). Its head is untied here."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=HIDDEN,
            n_layer=LAYERS,
            n_head=4,
            n_positions=32,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
            attn_implementation="eager",
        )
    )


def _bert() -> nn.Module:
    """An encoder with a classification head of three labels and a bias in every layer."""
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            intermediate_size=36,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            max_position_embeddings=32,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            num_labels=3,
            attn_implementation="eager",
        )
    )


@dataclass(frozen=True)
class Family:
    """What the tests need to know of a model family to phrase configurations for it."""

    build: Callable[[], nn.Module]
    targets: tuple[str, ...]  # suffixes that people target in this family
    regex: str  # a pattern that matches some layers of block 1 only
    layers: str  # the name of the list that holds the blocks
    norm: str  # the suffix of a layer that is not linear
    head: str  # the suffix of the output layer


FAMILIES = {
    "llama": Family(
        _llama,
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        r".*layers\.1\..*(q|v|down)_proj",
        "layers",
        "input_layernorm",
        "lm_head",
    ),
    "gpt2": Family(
        _gpt2,
        ("c_attn", "c_proj", "c_fc"),
        r"transformer\.h\.1\.attn\.c_.*",
        "h",
        "ln_1",
        "lm_head",
    ),
    "bert": Family(
        _bert,
        ("query", "key", "value", "dense"),
        r".*layer\.1\.attention\..*(query|dense)",
        "layer",
        "LayerNorm",
        "classifier",
    ),
}


def build(family: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    """The same random base model for the same arguments, every parameter (biases too) non-zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FAMILIES[family].build().to(torch.float64)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.to(dtype).eval()


def batch(length: int = 7) -> dict[str, Tensor]:
    """Two sequences of token ids; the second one ends in two padded places."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(2, length, dtype=torch.int64)  # (batch, length)
    mask[1, -2:] = 0
    tokens = torch.randint(VOCABULARY, (2, length), generator=generator)  # (batch, length)
    return {"input_ids": tokens, "attention_mask": mask}


def logits(model: nn.Module) -> Tensor:
    """The model's answer to `batch()`: (batch, length, vocabulary), or (batch, labels) for BERT."""
    return model(**batch()).logits


class Toy(nn.Module):
    """Two linear layers, an embedding and a norm: a model that is no transformers model."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.first = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(2 * width)
        self.second = nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.first(self.embedding(tokens))  # (batch, length, 2 width)
        return self.second(self.norm(hidden).relu())  # (batch, length, width)


def toy(seed: int = 0, width: int = 8) -> Toy:
    """The same random toy for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Toy(width)


TOKENS = torch.arange(10).reshape(2, 5)  # (batch, length)
