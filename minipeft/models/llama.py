"""A Llama-style decoder, from scratch: it runs Llama 1-3, Mistral, Qwen 2 and SmolLM checkpoints.

    x = Embedding(tokens)
    x = x + Attention(RMSNorm(x))      per layer; causal, rotary positions, grouped key/value heads
    x = x + SwiGLU(RMSNorm(x))
    logits = lm_head(RMSNorm(x))

Module names are transformers' (`model.layers.0.self_attn.q_proj`), so a checkpoint, an adapter and
a list of target modules mean the same here and there.

Sources: Touvron et al. 2023, "LLaMA" (section 2.2); Su et al. 2021, "RoFormer" (section 3.2);
Ainslie et al. 2023, "GQA" (section 2.2); Shazeer 2020, "GLU variants" (section 2).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from minipeft.models.checkpoint import WithoutInitialization, load_weights
from minipeft.models.config import LlamaConfig, RopeScaling
from minipeft.models.generate import generate

__all__ = ["Llama", "LlamaConfig", "RopeScaling", "generate", "load_pretrained"]


class RMSNorm(nn.Module):
    """y = x / sqrt(mean(x^2) + eps) * weight, computed in at least float32."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):  # (..., dim)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * (wide * scale).to(x.dtype)


def rotary_frequencies(config: LlamaConfig, device=None) -> torch.Tensor:
    """Radians per position for each pair of a head's channels, (head_dim / 2,)."""
    exponent = torch.arange(0, config.head_dim, 2, device=device).float() / config.head_dim
    frequency = 1.0 / config.rope_theta**exponent
    scaling = config.rope_scaling
    if scaling is None:
        return frequency
    # Llama 3: waves longer than the original context are slowed by `factor`, short ones are kept,
    # and those between are blended by how often they turn within the original context.
    turns = scaling.original_max_position_embeddings * frequency / (2 * math.pi)
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = blend.clamp(0, 1)
    return blend * frequency + (1 - blend) * frequency / scaling.factor


def rotary_table(config: LlamaConfig, length: int, like: torch.Tensor):
    """cos and sin of every position's angles, each (length, head_dim), in the dtype of `like`."""
    position = torch.arange(length, device=like.device).float()
    angle = torch.outer(position, rotary_frequencies(config, like.device))  # (length, head_dim/2)
    angle = torch.cat((angle, angle), dim=-1)  # channel i turns together with i + head_dim/2
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def rotate(x, cos, sin):  # (batch, heads, length, head_dim)
    """Turn each channel pair (i, i + head_dim/2) by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    """softmax(q k^T / sqrt(head_dim)) v, causal; each key/value head serves a group of queries."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.head_dim = config.head_dim
        self.groups = config.num_attention_heads // config.num_key_value_heads
        queries = config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=config.attention_bias)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=config.attention_bias)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=config.attention_bias)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=config.output_bias)

    def forward(self, x, cos, sin):  # (batch, length, hidden)
        q = rotate(self.split_heads(self.q_proj(x)), cos, sin)  # (batch, heads, length, head_dim)
        k = rotate(self.split_heads(self.k_proj(x)), cos, sin)  # (batch, kv_heads, length, ...)
        v = self.split_heads(self.v_proj(x))
        k = k.repeat_interleave(self.groups, dim=1)
        v = v.repeat_interleave(self.groups, dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))

    def split_heads(self, x):  # (batch, length, heads * head_dim)
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        hidden, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(hidden, inner, bias=bias)
        self.up_proj = nn.Linear(hidden, inner, bias=bias)
        self.down_proj = nn.Linear(inner, hidden, bias=bias)

    def forward(self, x):  # (batch, length, hidden)
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Attention, then the MLP; each reads a normalised copy and adds to the residual stream."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, cos, sin):  # (batch, length, hidden)
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Token ids to the last hidden states."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, input_ids):  # (batch, length)
        x = self.embed_tokens(input_ids)  # (batch, length, hidden)
        cos, sin = rotary_table(self.config, input_ids.shape[1], like=x)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)


class Llama(nn.Module):
    """The language model: `model(input_ids)` -> logits, (batch, length) -> (batch, length, vocab).

    A sequence is padded on the right, if at all: attention is causal, so what stands before the
    padding never sees it, and no attention mask is needed.

    Raises:
        ValueError: `input_ids` is not a table of whole numbers (batch, length).
    """

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.apply(self.initialize)
        self.tie_weights()

    def forward(self, input_ids):  # (batch, length)
        if input_ids.dim() != 2 or input_ids.is_floating_point():
            raise ValueError(
                "input_ids should be whole numbers of shape (batch, length), but they are "
                f"{input_ids.dtype} of shape {tuple(input_ids.shape)}"
            )
        return self.lm_head(self.model(input_ids))  # (batch, length, vocab)

    @staticmethod
    def initialize(module):
        """Normal weights of standard deviation 0.02, zero biases, as Llama does."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def tie_weights(self) -> None:
        """Let the output layer read the input embeddings' own tensor, if the config says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def get_input_embeddings(self) -> nn.Embedding:
        """The table that turns token ids into vectors."""
        return self.model.embed_tokens

    def get_output_embeddings(self) -> nn.Linear:
        """The layer that turns vectors into logits."""
        return self.lm_head


def load_pretrained(folder, dtype: torch.dtype = torch.float32) -> Llama:
    """Load a Llama-family folder in the Hugging Face format: config.json and safetensors.

    Args:
        folder: holds `config.json` and `model.safetensors`, or the shards that
            `model.safetensors.index.json` names.
        dtype: of the weights in memory; those on disk are converted.

    Raises:
        FileNotFoundError: the folder, its config or one of its shards does not exist.
        ValueError: a damaged file, a missing, foreign or wrongly shaped tensor, or an architecture
            that is not built here.
    """
    config = LlamaConfig.from_config(folder)
    with torch.device("meta"), WithoutInitialization():  # shapes without memory
        model = Llama(config)
    load_weights(model, folder, dtype)
    model.tie_weights()
    return model.eval()
