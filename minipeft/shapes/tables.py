"""Families of which there are shapes alone: GPT-2, BERT, RoBERTa, DeBERTa, T5, mT5 and Whisper."""

from typing import ClassVar

from torch import nn

from minipeft.shapes.config_json import REQUIRED, divided
from minipeft.shapes.family import Family
from minipeft.shapes.meta_model import (
    Conv1D,
    MetaModel,
    Parts,
    RMSNorm,
    embedding,
    layer_norm,
    linear,
)


class Table(Family):
    """A list of modules by name, as transformers builds them.

    base: where the base lies in a model that has a head. words: the embedding. output: the layer
    that makes logits, for the task `tasks[0]` or, in BERT, for "MASKED_LM".
    """

    base = "model."
    words = "embed_tokens"
    output: str | None = None
    output_task = "SEQ_2_SEQ_LM"

    def build(self) -> nn.Module:
        prefix = "" if self.task == "FEATURE_EXTRACTION" else self.base
        parts = {prefix + path: part for path, part in self.inside()}
        for path, part in self.top():
            parts[path] = part
        output = self.output if self.task == self.output_task else None
        if output and getattr(self, "tie_word_embeddings", True):
            parts[output].weight = parts[prefix + self.words].weight
        return MetaModel(parts.items(), self, prefix + self.words, output)

    def inside(self) -> Parts:
        """The base."""
        raise NotImplementedError

    def top(self) -> Parts:
        """What stands on top of the base for the task."""
        raise NotImplementedError


class GPT2(Table):
    """Learned positions, layer norms, one fused matrix for queries, keys and values."""

    sizes: ClassVar[dict[str, object]] = {
        "vocab_size": REQUIRED,
        "hidden_size": REQUIRED,
        "num_hidden_layers": REQUIRED,
        "num_attention_heads": REQUIRED,
        "intermediate_size": None,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
    }
    own_names: ClassVar[dict[str, str]] = {
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "max_position_embeddings": "n_positions",
    }
    base = "transformer."
    tasks = ("CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS", "FEATURE_EXTRACTION")
    words, output, output_task = "wte", "lm_head", "CAUSAL_LM"

    def complete(self) -> None:
        super().complete()
        self.intermediate_size = self.intermediate_size or 4 * self.hidden_size

    def inside(self) -> Parts:
        d, inner = self.hidden_size, self.intermediate_size
        yield "wte", embedding(self.vocab_size, d)
        yield "wpe", embedding(self.max_position_embeddings, d)
        for number in range(self.num_hidden_layers):
            yield f"h.{number}.ln_1", layer_norm(d)
            yield f"h.{number}.attn.c_attn", Conv1D(3 * d, d)
            yield f"h.{number}.attn.c_proj", Conv1D(d, d)
            yield f"h.{number}.ln_2", layer_norm(d)
            yield f"h.{number}.mlp.c_fc", Conv1D(inner, d)
            yield f"h.{number}.mlp.c_proj", Conv1D(d, inner)
        yield "ln_f", layer_norm(d)

    def top(self) -> Parts:
        if self.task == "CAUSAL_LM":
            yield "lm_head", linear(self.vocab_size, self.hidden_size, bias=False)
        elif self.task == "SEQ_CLS":
            yield "score", linear(self.num_labels, self.hidden_size, bias=False)
        elif self.task == "TOKEN_CLS":
            yield "classifier", linear(self.num_labels, self.hidden_size)


class Bert(Table):
    """Learned positions, norms after the sum, biases everywhere."""

    sizes: ClassVar[dict[str, object]] = {
        "vocab_size": REQUIRED,
        "hidden_size": REQUIRED,
        "intermediate_size": REQUIRED,
        "num_hidden_layers": REQUIRED,
        "num_attention_heads": REQUIRED,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "add_pooling_layer": True,
        "tie_word_embeddings": True,
    }
    base = "bert."
    tasks = ("FEATURE_EXTRACTION", "SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "MASKED_LM")
    words, output, output_task = (
        "embeddings.word_embeddings",
        "cls.predictions.decoder",
        "MASKED_LM",
    )
    pooled = ("FEATURE_EXTRACTION", "SEQ_CLS")  # the heads that read the pooler
    queries = ("query", "key", "value")
    head = ("cls.predictions", "transform.dense", "transform.LayerNorm")

    def inside(self) -> Parts:
        d, inner = self.hidden_size, self.intermediate_size
        yield from self.embeddings()
        for number in range(self.num_hidden_layers):
            place = f"encoder.layer.{number}"
            for name in self.queries:
                yield f"{place}.attention.self.{name}", linear(d, d)
            yield f"{place}.attention.output.dense", linear(d, d)
            yield f"{place}.attention.output.LayerNorm", layer_norm(d)
            yield f"{place}.intermediate.dense", linear(inner, d)
            yield f"{place}.output.dense", linear(d, inner)
            yield f"{place}.output.LayerNorm", layer_norm(d)

    def embeddings(self) -> Parts:
        """Words, positions and types of tokens; and the pooler."""
        d = self.hidden_size
        yield "embeddings.word_embeddings", embedding(self.vocab_size, d)
        yield "embeddings.position_embeddings", embedding(self.max_position_embeddings, d)
        yield "embeddings.token_type_embeddings", embedding(self.type_vocab_size, d)
        yield "embeddings.LayerNorm", layer_norm(d)
        if self.task in self.pooled and self.add_pooling_layer:
            yield "pooler.dense", linear(d, d)

    def top(self) -> Parts:
        d = self.hidden_size
        if self.task == "QUESTION_ANS":
            yield "qa_outputs", linear(self.num_labels, d)
        elif self.task in ("SEQ_CLS", "TOKEN_CLS"):
            yield "classifier", linear(self.num_labels, d)
        elif self.task == "MASKED_LM":  # one more layer, a norm, and the words' table with a bias
            place, dense, norm = self.head
            yield f"{place}.{dense}", linear(d, d)
            yield f"{place}.{norm}", layer_norm(d)
            yield f"{place}.decoder", (decoder := linear(self.vocab_size, d))
            yield f"{place}.bias", decoder.bias


class Roberta(Bert):
    """BERT's layers; the classifier has two of its own in place of the pooler."""

    base = "roberta."
    pooled = ("FEATURE_EXTRACTION",)
    head = ("lm_head", "dense", "layer_norm")
    output = "lm_head.decoder"

    def top(self) -> Parts:
        if self.task == "SEQ_CLS":
            yield "classifier.dense", linear(self.hidden_size, self.hidden_size)
            yield "classifier.out_proj", linear(self.num_labels, self.hidden_size)
        else:
            yield from super().top()


class DebertaV2(Bert):
    """Attention to content and to relative positions, which share one table in all layers."""

    sizes: ClassVar[dict[str, object]] = Bert.sizes | {
        "type_vocab_size": 0,
        "position_biased_input": True,
        "relative_attention": False,
        "max_relative_positions": -1,
        "position_buckets": -1,
        "pos_att_type": "",
        "share_att_key": False,
        "norm_rel_ebd": "none",
        "conv_kernel_size": 0,
        "conv_groups": 1,
        "embedding_size": None,
        "head_dim": None,
    }
    own_names: ClassVar[dict[str, str]] = {"head_dim": "attention_head_size"}
    base = "deberta."
    tasks = Bert.tasks[:-1]
    queries = ("query_proj", "key_proj", "value_proj")

    def embeddings(self) -> Parts:
        d, width = self.hidden_size, self.embedding_size or self.hidden_size
        yield "embeddings.word_embeddings", embedding(self.vocab_size, width)
        if self.position_biased_input:
            positions = embedding(self.max_position_embeddings, width)
            yield "embeddings.position_embeddings", positions
        if self.type_vocab_size:
            yield "embeddings.token_type_embeddings", embedding(self.type_vocab_size, width)
        if width != d:
            yield "embeddings.embed_proj", linear(d, width, bias=False)
        yield "embeddings.LayerNorm", layer_norm(d)
        if "layer_norm" in self.norm_rel_ebd.lower():
            yield "encoder.LayerNorm", layer_norm(d)
        if self.conv_kernel_size > 0:  # beside the first layer, in the XXL models
            conv = nn.Conv1d(d, d, self.conv_kernel_size, groups=self.conv_groups, device="meta")
            yield "encoder.conv.conv", conv
            yield "encoder.conv.LayerNorm", layer_norm(d)
        if self.relative_attention:
            yield from self.relative()

    def relative(self) -> Parts:
        """The table of distances, and each layer's matrices for it where they're its own."""
        furthest = self.max_relative_positions
        furthest = furthest if furthest > 0 else self.max_position_embeddings
        buckets = self.position_buckets if self.position_buckets > 0 else furthest
        yield "encoder.rel_embeddings", embedding(2 * buckets, self.hidden_size)
        for name, kind in (("pos_key_proj", "c2p"), ("pos_query_proj", "p2c")):
            for number in range(self.num_hidden_layers if kind in self.pos_att_type else 0):
                if not self.share_att_key:
                    path = f"encoder.layer.{number}.attention.self.{name}"
                    yield path, linear(self.hidden_size, self.hidden_size)

    def top(self) -> Parts:
        if self.task == "SEQ_CLS":
            yield "pooler.dense", linear(self.hidden_size, self.hidden_size)
        yield from super().top()


class T5(Table):
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
    tasks = ("SEQ_2_SEQ_LM", "FEATURE_EXTRACTION")
    words, output = "shared", "lm_head"

    def complete(self) -> None:
        self.num_decoder_layers = self.num_decoder_layers or self.num_hidden_layers

    def inside(self) -> Parts:
        yield "shared", embedding(self.vocab_size, self.hidden_size)
        layers = {"encoder": self.num_hidden_layers, "decoder": self.num_decoder_layers}
        for side, count in layers.items():
            for number in range(count):
                for path, part in self.block(side == "decoder"):
                    yield f"{side}.block.{number}.layer.{path}", part
            table = embedding(self.relative_attention_num_buckets, self.num_attention_heads)
            yield f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias", table
            yield f"{side}.final_layer_norm", RMSNorm(self.hidden_size)

    def block(self, decoder: bool) -> Parts:
        """Attention, in a decoder also to what the encoder made, and the MLP."""
        d, heads = self.hidden_size, self.num_attention_heads * self.head_dim
        kinds = ["SelfAttention", "EncDecAttention"] if decoder else ["SelfAttention"]
        for place, kind in enumerate(kinds):
            for role in "qkv":
                yield f"{place}.{kind}.{role}", linear(heads, d, bias=False)
            yield f"{place}.{kind}.o", linear(d, heads, bias=False)
            yield f"{place}.layer_norm", RMSNorm(d)
        gated, last = self.feed_forward_proj.startswith("gated"), len(kinds)
        for name in ("wi_0", "wi_1") if gated else ("wi",):
            yield f"{last}.DenseReluDense.{name}", linear(self.intermediate_size, d, bias=False)
        yield f"{last}.DenseReluDense.wo", linear(d, self.intermediate_size, bias=False)
        yield f"{last}.layer_norm", RMSNorm(d)

    def top(self) -> Parts:
        if self.task == "SEQ_2_SEQ_LM":
            yield self.output, linear(self.vocab_size, self.hidden_size, bias=False)


class MT5(T5):
    """T5 version 1.1 with the words of a hundred languages."""

    sizes: ClassVar[dict[str, object]] = T5.sizes | {
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    }


class Whisper(Table):
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
    tasks = T5.tasks
    words, output = "decoder.embed_tokens", "proj_out"
    top = T5.top

    def complete(self) -> None:
        for heads in (self.decoder_attention_heads, self.encoder_attention_heads):
            self.head_dim = divided("d_model", self.hidden_size, heads)
        self.num_attention_heads, self.num_hidden_layers = heads, self.encoder_layers
        self.num_decoder_layers, self.intermediate_size = self.decoder_layers, self.encoder_ffn_dim

    def inside(self) -> Parts:
        d = self.hidden_size
        yield "encoder.conv1", nn.Conv1d(self.num_mel_bins, d, 3, device="meta")
        yield "encoder.conv2", nn.Conv1d(d, d, 3, device="meta")
        yield "encoder.embed_positions", embedding(self.max_source_positions, d)
        yield "decoder.embed_tokens", embedding(self.vocab_size, d)
        yield "decoder.embed_positions", embedding(self.max_target_positions, d)
        for side, kinds in {
            "encoder": ("self_attn",),
            "decoder": ("self_attn", "encoder_attn"),
        }.items():
            inner = getattr(self, f"{side}_ffn_dim")
            for number in range(getattr(self, f"{side}_layers")):
                place = f"{side}.layers.{number}"
                for kind in kinds:
                    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                        yield f"{place}.{kind}.{name}", linear(d, d, bias=name != "k_proj")
                    yield f"{place}.{kind}_layer_norm", layer_norm(d)
                yield f"{place}.fc1", linear(inner, d)
                yield f"{place}.fc2", linear(d, inner)
                yield f"{place}.final_layer_norm", layer_norm(d)
            yield f"{side}.layer_norm", layer_norm(d)
