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

import torch
import torch.nn.functional as F
from torch import nn

from minipeft.core.modules import WithoutInitialization
from minipeft.models.cache import KeyValueCache
from minipeft.models.checkpoint import load_weights
from minipeft.models.config import LlamaConfig, RopeScaling
from minipeft.models.generate import generate
from minipeft.models.inputs import check_inputs
from minipeft.models.masks import visible_keys
from minipeft.models.recompute import GradientCheckpointing
from minipeft.models.rotary import rotary_table, rotate

__all__ = ["KeyValueCache", "Llama", "LlamaConfig", "RopeScaling", "generate", "load_pretrained"]


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


class Attention(nn.Module):
    """softmax(q k^T / sqrt(head_dim)) v, causal; each key/value head serves a group of queries."""

    def __init__(self, config: LlamaConfig, layer_idx: int):
        super().__init__()
        self.layer_idx = layer_idx  # the cache keeps each layer's keys and values apart
        self.head_dim = config.head_dim
        self.groups = config.num_attention_heads // config.num_key_value_heads
        queries = config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=config.attention_bias)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=config.attention_bias)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=config.attention_bias)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=config.output_bias)

    def forward(self, x, rotary, visible=None, cache=None):  # (batch, length, hidden)
        q = rotate(self.split_heads(self.q_proj(x)), *rotary)  # (batch, heads, length, head_dim)
        k = rotate(self.split_heads(self.k_proj(x)), *rotary)  # (batch, kv_heads, length, ...)
        v = self.split_heads(self.v_proj(x))
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)  # (batch, kv_heads, past + length, head_dim)
        k = k.repeat_interleave(self.groups, dim=1)
        v = v.repeat_interleave(self.groups, dim=1)
        causal = visible is None and k.shape[2] == q.shape[2]  # else one token that sees all
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=causal)
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

    def __init__(self, config: LlamaConfig, layer_idx: int):
        super().__init__()
        self.self_attn = Attention(config, layer_idx)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, rotary, visible=None, cache=None):  # (batch, length, hidden)
        x = x + self.self_attn(self.input_layernorm(x), rotary, visible, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module, GradientCheckpointing):
    """Token ids, or vectors in their place, to the last hidden states."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
    ):
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        length = x.shape[1]
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        if position_ids is None:
            position_ids = torch.arange(past, past + length, device=x.device)[None]  # (1, length)
        rotary = rotary_table(self.config, position_ids, x.dtype)
        visible = visible_keys(length, past, attention_mask, x.device)
        for layer in self.layers:
            x = self.run_layer(layer, x, rotary, visible, cache=past_key_values)
        return self.norm(x)  # (batch, length, hidden)


class Llama(nn.Module, GradientCheckpointing):
    """The language model: `model(input_ids)` -> logits, (batch, length) -> (batch, length, vocab).

    Args (names and meaning are transformers'):
        input_ids: token ids, (batch, length).
        attention_mask: 0 where a token is padding, on either side; (batch, past + length). Without
            it nothing is padding. (Padding on the right needs none in training: attention is
            causal, so what stands before it never sees it.)
        position_ids: (batch, length) or (1, length); if None, past, past + 1, ...
        past_key_values: a KeyValueCache, which is read and made longer in place.
        inputs_embeds: vectors in place of `input_ids`, (batch, length, hidden).

    Raises:
        ValueError: not exactly one of `input_ids` and `inputs_embeds`, or a wrong shape or type.
    """

    new_cache = KeyValueCache  # so that others can fill `past_key_values` without its class

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.apply(self.initialize)
        self.tie_weights()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
    ):
        inputs = input_ids, attention_mask, position_ids, past_key_values, inputs_embeds
        check_inputs(self.config, *inputs)
        return self.lm_head(self.model(*inputs))  # (batch, length, vocab)

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
    model = without_weights(folder)
    load_weights(model, folder, dtype)
    model.tie_weights()
    return model.eval()


def without_weights(folder) -> Llama:
    """The model that a folder's config.json describes: shapes without memory."""
    config = LlamaConfig.from_config(folder)
    with torch.device("meta"), WithoutInitialization():
        return Llama(config)
