"""Encoder-decoders: T5, mT5 and Whisper, as transformers builds them."""

from typing import ClassVar

from torch import nn

from minipeft.shapes.family import REQUIRED, Family, divided
from minipeft.shapes.layer_stack import LayerStack
from minipeft.shapes.meta_model import Parts, RMSNorm, embedding, layer_norm, linear, tied

HEADS = ("SEQ_2_SEQ_LM", "FEATURE_EXTRACTION")


class T5(Family):
    """RMS norms, no biases, a table of relative positions in the first layer of each stack."""

    sizes: ClassVar[dict[str, object]] = {
        "vocab_size": REQUIRED,
        "hidden_size": REQUIRED,
        "intermediate_size": REQUIRED,
        "num_hidden_layers": REQUIRED,
        "num_decoder_layers": None,
        "num_attention_heads": REQUIRED,
        "head_dim": 64,
        "relative_attention_num_buckets": 32,
        "feed_forward_proj": "relu",
        "tie_word_embeddings": True,
    }
    own_names: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "intermediate_size": "d_ff",
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "head_dim": "d_kv",
    }
    base = ""
    tasks = HEADS
    words = "shared"

    def complete(self) -> None:
        self.num_decoder_layers = self.num_decoder_layers or self.num_hidden_layers

    def lengths(self, length: int, target_length: int) -> list[int]:
        return [length, target_length]

    def stacks(self) -> list[LayerStack]:
        return [
            self.stack("encoder", self.num_hidden_layers),
            self.stack("decoder", self.num_decoder_layers),
        ]

    def stack(self, side: str, layers: int) -> LayerStack:
        """The encoder's layers, or the decoder's, which also read what the encoder made."""
        decoder = side == "decoder"
        last = 2 if decoder else 1
        names = {f"{role}_proj": f"layer.0.SelfAttention.{role}" for role in "qkvo"}
        if decoder:
            names |= {f"cross_{role}_proj": f"layer.1.EncDecAttention.{role}" for role in "qkvo"}
        mlp = {"up_proj": "wi"}
        if self.feed_forward_proj.startswith("gated"):
            mlp = {"gate_proj": "wi_0", "up_proj": "wi_1"}
        for role, name in (mlp | {"down_proj": "wo"}).items():
            names[role] = f"layer.{last}.DenseReluDense.{name}"
        return LayerStack(
            path=f"{side}.block",
            last_norm=f"{side}.final_layer_norm",
            activation="gelu" if self.feed_forward_proj == "gated-gelu" else "relu",
            layers=layers,
            hidden=self.hidden_size,
            heads=self.num_attention_heads,
            kv_heads=self.num_attention_heads,
            head_dim=self.head_dim,
            inner=self.intermediate_size,
            names=names,
            norms=tuple(f"layer.{number}.layer_norm" for number in range(last + 1)),
            rms=True,
            causal=decoder,
            dropout=0.1,
        )

    def around(self) -> Parts:
        yield "shared", embedding(self.vocab_size, self.hidden_size)
        for side in ("encoder", "decoder"):
            table = embedding(self.relative_attention_num_buckets, self.num_attention_heads)
            yield f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias", table
            yield f"{side}.final_layer_norm", RMSNorm(self.hidden_size)

    def top(self, words) -> Parts:
        if self.task == "SEQ_2_SEQ_LM":
            head = linear(self.vocab_size, self.hidden_size, bias=False)
            yield "lm_head", tied(head, words) if self.tie_word_embeddings else head

    def output(self) -> str | None:
        return "lm_head" if self.task == "SEQ_2_SEQ_LM" else None


class MT5(T5):
    """T5 version 1.1 with the words of a hundred languages."""

    sizes: ClassVar[dict[str, object]] = T5.sizes | {
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    }


class Whisper(Family):
    """Two convolutions over a spectrogram, then an encoder and a decoder; keys have no bias."""

    sizes: ClassVar[dict[str, object]] = {
        "vocab_size": REQUIRED,
        "hidden_size": REQUIRED,
        "encoder_layers": REQUIRED,
        "decoder_layers": REQUIRED,
        "encoder_attention_heads": REQUIRED,
        "decoder_attention_heads": REQUIRED,
        "encoder_ffn_dim": REQUIRED,
        "decoder_ffn_dim": REQUIRED,
        "num_mel_bins": 80,
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "tie_word_embeddings": True,
    }
    own_names: ClassVar[dict[str, str]] = {"hidden_size": "d_model"}
    tasks = HEADS
    words = "decoder.embed_tokens"

    def complete(self) -> None:
        for heads in (self.decoder_attention_heads, self.encoder_attention_heads):
            self.head_dim = divided("d_model", self.hidden_size, heads)
        self.num_attention_heads, self.num_hidden_layers = heads, self.encoder_layers

    def lengths(self, length: int, target_length: int) -> list[int]:
        return [self.max_source_positions, target_length]

    def stacks(self) -> list[LayerStack]:
        return [self.stack(side) for side in ("encoder", "decoder")]

    def stack(self, side: str) -> LayerStack:
        """The encoder's layers, or the decoder's, which also read what the encoder made."""
        decoder, heads = side == "decoder", getattr(self, f"{side}_attention_heads")
        own = {f"{role}_proj": f"self_attn.{role}_proj" for role in "qkv"}
        names = own | {"o_proj": "self_attn.out_proj"}
        norms = ["self_attn_layer_norm"]
        if decoder:
            names |= {f"cross_{role}_proj": f"encoder_attn.{role}_proj" for role in "qkv"}
            names["cross_o_proj"] = "encoder_attn.out_proj"
            norms.append("encoder_attn_layer_norm")
        names |= {"up_proj": "fc1", "down_proj": "fc2"}
        return LayerStack(
            path=f"{side}.layers",
            last_norm=f"{side}.layer_norm",
            layers=getattr(self, f"{side}_layers"),
            hidden=self.hidden_size,
            heads=heads,
            kv_heads=heads,
            head_dim=self.hidden_size // heads,
            inner=getattr(self, f"{side}_ffn_dim"),
            names=names,
            norms=(*norms, "final_layer_norm"),
            biased=frozenset(names) - {"k_proj", "cross_k_proj"},
            causal=decoder,
        )

    def around(self) -> Parts:
        yield "decoder.embed_tokens", embedding(self.vocab_size, self.hidden_size)
        yield "decoder.embed_positions", embedding(self.max_target_positions, self.hidden_size)
        yield "encoder.embed_positions", embedding(self.max_source_positions, self.hidden_size)
        yield "encoder.conv1", nn.Conv1d(self.num_mel_bins, self.hidden_size, 3, device="meta")
        yield "encoder.conv2", nn.Conv1d(self.hidden_size, self.hidden_size, 3, device="meta")
        for side in ("encoder", "decoder"):
            yield f"{side}.layer_norm", layer_norm(self.hidden_size)

    def top(self, words) -> Parts:
        if self.task == "SEQ_2_SEQ_LM":
            head = linear(self.vocab_size, self.hidden_size, bias=False)
            yield "proj_out", tied(head, words) if self.tie_word_embeddings else head

    def output(self) -> str | None:
        return "proj_out" if self.task == "SEQ_2_SEQ_LM" else None
