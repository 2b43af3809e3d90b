"""Encoders: BERT, RoBERTa, DeBERTa v2 and v3, and ViT, as transformers builds them."""

from typing import ClassVar

from torch import nn

from minipeft.shapes.family import REQUIRED, Family, divided
from minipeft.shapes.layer_stack import LayerStack
from minipeft.shapes.meta_model import Parts, embedding, layer_norm, linear, numbers, tied

HEADS = ("FEATURE_EXTRACTION", "SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "MASKED_LM")


class Bert(Family):
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
    tasks = HEADS
    words = "embeddings.word_embeddings"
    pooled = ("FEATURE_EXTRACTION", "SEQ_CLS")  # the heads that read the pooler
    matrices: ClassVar[dict[str, str]] = {
        "q_proj": "attention.self.query",
        "k_proj": "attention.self.key",
        "v_proj": "attention.self.value",
        "o_proj": "attention.output.dense",
        "up_proj": "intermediate.dense",
        "down_proj": "output.dense",
    }
    norms = ("attention.output.LayerNorm", "output.LayerNorm")
    last_norm: str | None = None
    dropout = 0.1  # the usual one while training

    def biased(self) -> frozenset[str]:
        """The matrices that have a bias."""
        return frozenset(self.matrices)

    def stacks(self) -> list[LayerStack]:
        return [
            LayerStack(
                path="encoder.layer",
                last_norm=self.last_norm,
                layers=self.num_hidden_layers,
                hidden=self.hidden_size,
                heads=self.num_attention_heads,
                kv_heads=self.num_attention_heads,
                head_dim=self.head_dim,
                inner=self.intermediate_size,
                names=self.matrices,
                norms=self.norms,
                biased=self.biased(),
                dropout=self.dropout,
            )
        ]

    def around(self) -> Parts:
        yield "embeddings.word_embeddings", embedding(self.vocab_size, self.hidden_size)
        positions = embedding(self.max_position_embeddings, self.hidden_size)
        yield "embeddings.position_embeddings", positions
        yield "embeddings.token_type_embeddings", embedding(self.type_vocab_size, self.hidden_size)
        yield "embeddings.LayerNorm", layer_norm(self.hidden_size)
        if self.task in self.pooled and self.add_pooling_layer:
            yield "pooler.dense", linear(self.hidden_size, self.hidden_size)

    def top(self, words) -> Parts:
        if self.task == "QUESTION_ANS":
            yield "qa_outputs", linear(self.num_labels, self.hidden_size)
        elif self.task in ("SEQ_CLS", "TOKEN_CLS"):
            yield "classifier", linear(self.num_labels, self.hidden_size)
        elif self.task == "MASKED_LM":
            names = ("transform.dense", "transform.LayerNorm")
            yield from self.masked_lm(words, "cls.predictions", *names)

    def output(self) -> str | None:
        return "cls.predictions.decoder" if self.task == "MASKED_LM" else None

    def masked_lm(self, words: nn.Embedding, place: str, dense: str, norm: str) -> Parts:
        """One more layer, a norm, and the words' own table with a bias."""
        yield f"{place}.{dense}", linear(self.hidden_size, self.hidden_size)
        yield f"{place}.{norm}", layer_norm(self.hidden_size)
        decoder = linear(self.vocab_size, self.hidden_size)
        yield f"{place}.decoder", tied(decoder, words) if self.tie_word_embeddings else decoder
        yield f"{place}.bias", decoder.bias


class Roberta(Bert):
    """BERT's layers; the classifier has two of its own in place of the pooler."""

    base = "roberta."
    pooled = ("FEATURE_EXTRACTION",)

    def top(self, words) -> Parts:
        if self.task == "SEQ_CLS":
            yield "classifier.dense", linear(self.hidden_size, self.hidden_size)
            yield "classifier.out_proj", linear(self.num_labels, self.hidden_size)
        elif self.task == "MASKED_LM":
            yield from self.masked_lm(words, "lm_head", "dense", "layer_norm")
        else:
            yield from super().top(words)

    def output(self) -> str | None:
        return "lm_head.decoder" if self.task == "MASKED_LM" else None


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
    tasks = HEADS[:-1]
    pooled = ()
    matrices: ClassVar[dict[str, str]] = Bert.matrices | {
        "q_proj": "attention.self.query_proj",
        "k_proj": "attention.self.key_proj",
        "v_proj": "attention.self.value_proj",
    }

    def around(self) -> Parts:
        width = self.embedding_size or self.hidden_size
        yield "embeddings.word_embeddings", embedding(self.vocab_size, width)
        if self.position_biased_input:
            positions = embedding(self.max_position_embeddings, width)
            yield "embeddings.position_embeddings", positions
        if self.type_vocab_size:
            yield "embeddings.token_type_embeddings", embedding(self.type_vocab_size, width)
        if width != self.hidden_size:
            yield "embeddings.embed_proj", linear(self.hidden_size, width, bias=False)
        yield "embeddings.LayerNorm", layer_norm(self.hidden_size)
        if "layer_norm" in self.norm_rel_ebd.lower():
            yield "encoder.LayerNorm", layer_norm(self.hidden_size)
        if self.conv_kernel_size > 0:  # beside the first layer, in the XXL models
            dim, kernel = self.hidden_size, self.conv_kernel_size
            conv = nn.Conv1d(dim, dim, kernel, groups=self.conv_groups, device="meta")
            yield "encoder.conv.conv", conv
            yield "encoder.conv.LayerNorm", layer_norm(self.hidden_size)
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

    def top(self, words) -> Parts:
        if self.task == "SEQ_CLS":
            yield "pooler.dense", linear(self.hidden_size, self.hidden_size)
        yield from super().top(words)


class ViT(Bert):
    """Patches of a picture in place of words, and norms before attention and MLP."""

    sizes: ClassVar[dict[str, object]] = {
        "hidden_size": REQUIRED,
        "intermediate_size": REQUIRED,
        "num_hidden_layers": REQUIRED,
        "num_attention_heads": REQUIRED,
        "image_size": 224,
        "patch_size": 16,
        "num_channels": 3,
        "qkv_bias": True,
        "pooler_output_size": None,
        "add_pooling_layer": True,
    }
    base = "vit."
    tasks = ("SEQ_CLS", "FEATURE_EXTRACTION")
    words = "embeddings.patch_embeddings.projection"
    matrices: ClassVar[dict[str, str]] = Bert.matrices | {
        "q_proj": "attention.attention.query",
        "k_proj": "attention.attention.key",
        "v_proj": "attention.attention.value",
    }
    norms = ("layernorm_before", "layernorm_after")
    last_norm = "layernorm"
    dropout = 0.0

    def biased(self) -> frozenset[str]:
        without = set() if self.qkv_bias else {"q_proj", "k_proj", "v_proj"}
        return frozenset(self.matrices) - without

    def complete(self) -> None:
        super().complete()
        self.patches = divided("image_size", self.image_size, self.patch_size) ** 2

    def lengths(self, length: int, target_length: int) -> list[int]:
        return [self.patches + 1]

    def around(self) -> Parts:
        yield "embeddings.cls_token", numbers(1, 1, self.hidden_size)
        yield "embeddings.position_embeddings", numbers(1, self.patches + 1, self.hidden_size)
        patch = nn.Conv2d(self.num_channels, self.hidden_size, self.patch_size, device="meta")
        yield "embeddings.patch_embeddings.projection", patch
        yield "layernorm", layer_norm(self.hidden_size)
        if self.task == "FEATURE_EXTRACTION" and self.add_pooling_layer:
            yield (
                "pooler.dense",
                linear(self.pooler_output_size or self.hidden_size, self.hidden_size),
            )

    def top(self, words) -> Parts:
        if self.task == "SEQ_CLS" and self.num_labels:
            yield "classifier", linear(self.num_labels, self.hidden_size)

    def output(self) -> str | None:
        return None
