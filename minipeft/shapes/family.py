"""A family of models: the fields of its `config.json` that say its shape, and how it is built.

Llama, Mistral, Qwen 2 and ViT are this package's own models; tables.py lists the modules of others.
"""

from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from minipeft.core.errors import nearest
from minipeft.models.checkpoint import WithoutInitialization
from minipeft.models.llama import Decoder, KeyValueCache, LlamaConfig
from minipeft.models.llama import Llama as LanguageModel
from minipeft.models.vit import ViT as Classifier
from minipeft.models.vit import ViTConfig, ViTModel
from minipeft.shapes.config_json import REQUIRED, divided, read_sizes
from minipeft.shapes.meta_model import linear


class Family:
    """One modeling file of Hugging Face transformers, in shapes. An instance is one model's.

    sizes: field -> its default, or REQUIRED. own_names: field -> the name it has in this family.
    tasks: the heads there are, the usual one first, under peft's names; "FEATURE_EXTRACTION" is
    the base alone.
    """

    sizes: ClassVar[dict[str, object]] = {}
    own_names: ClassVar[dict[str, str]] = {}
    tasks: tuple[str, ...] = ()

    def __init__(
        self, model_type: str, task: str | None, num_labels: int, fields: dict[str, Any]
    ) -> None:
        if task is not None and task not in self.tasks:
            raise ValueError(
                f"head={task!r} is not built for {model_type!r}; {nearest(task, self.tasks)}"
            )
        known = self.names(model_type)
        given = {known[name]: value for name, value in fields.items() if name in known}
        self.model_type, self.task, self.num_labels = model_type, task or self.tasks[0], num_labels
        vars(self).update(read_sizes(self.sizes, self.own_names, given))
        self.complete()

    @classmethod
    def names(cls, model_type: str) -> dict[str, str]:
        """What a field may be called -> its one name here."""
        own = {own: name for name, own in cls.own_names.items()}
        return {name: name for name in cls.sizes} | own

    def complete(self) -> None:
        """Fill in the sizes that follow from others. Raises ValueError where they don't fit."""
        if getattr(self, "head_dim", None) is None:
            self.head_dim = divided("hidden_size", self.hidden_size, self.num_attention_heads)

    def build(self) -> nn.Module:
        """The model on the meta device, under the names that it has in transformers."""
        raise NotImplementedError

    def config_fields(self) -> dict[str, Any]:
        """Its `config.json`, as far as it says the shape."""
        known = {name: getattr(self, name) for name in self.sizes}
        return {self.own_names.get(name, name): value for name, value in known.items()}


class Llama(Family):
    """Rotary positions, RMS norms, grouped keys and values, a gated MLP: minipeft.models.llama."""

    sizes: ClassVar[dict[str, object]] = {
        "vocab_size": REQUIRED,
        "hidden_size": REQUIRED,
        "intermediate_size": REQUIRED,
        "num_hidden_layers": REQUIRED,
        "num_attention_heads": REQUIRED,
        "num_key_value_heads": None,
        "head_dim": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    }
    tasks = ("CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS", "FEATURE_EXTRACTION")

    def complete(self) -> None:
        super().complete()
        self.num_key_value_heads = self.num_key_value_heads or self.num_attention_heads
        divided("num_attention_heads", self.num_attention_heads, self.num_key_value_heads)

    def build(self) -> nn.Module:
        known = {field.name for field in fields(LlamaConfig)}
        sizes = {name: value for name, value in vars(self).items() if name in known}
        sizes |= {"attention_bias": True} if self.model_type == "qwen2" else {}
        config = LlamaConfig(**sizes)
        with torch.device("meta"), WithoutInitialization():
            if self.task == "CAUSAL_LM":
                return LanguageModel(config)
            if self.task == "FEATURE_EXTRACTION":
                return LlamaBase(config)
            return LlamaClassifier(config, self.num_labels, bias=self.task == "TOKEN_CLS")


class Mistral(Llama):
    """Llama's shape, without biases."""

    sizes: ClassVar[dict[str, object]] = {
        name: default for name, default in Llama.sizes.items() if not name.endswith("_bias")
    } | {"num_key_value_heads": 8}


class Qwen2(Mistral):
    """Llama's shape, with biases on queries, keys and values."""

    sizes: ClassVar[dict[str, object]] = Mistral.sizes | {"num_key_value_heads": 32}


class LlamaBase(Decoder):
    """The layers without a head."""

    new_cache = KeyValueCache

    def get_input_embeddings(self) -> nn.Embedding:
        """The table that turns token ids into vectors."""
        return self.embed_tokens


class LlamaClassifier(LanguageModel):
    """A label for each token, from `score`; for a text that of its last token."""

    def __init__(self, config: LlamaConfig, labels: int, bias: bool) -> None:
        super().__init__(config)
        del self.lm_head
        self.score = nn.Linear(config.hidden_size, labels, bias)
        self.each_token = bias

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: object = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        inputs = input_ids, attention_mask, position_ids, past_key_values, inputs_embeds
        scores = self.score(self.model(*inputs))  # (batch, length, labels)
        return scores if self.each_token else scores[:, -1]

    def get_output_embeddings(self) -> None:
        """A classifier makes no logits of words."""


class ViT(Family):
    """Patches of a picture in place of words: minipeft.models.vit."""

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
    tasks = ("SEQ_CLS", "FEATURE_EXTRACTION")

    def complete(self) -> None:
        super().complete()
        divided("image_size", self.image_size, self.patch_size)

    def build(self) -> nn.Module:
        known = {field.name for field in fields(ViTConfig)}
        sizes = {name: value for name, value in vars(self).items() if name in known}
        config = ViTConfig(**sizes | {"num_labels": max(1, self.num_labels)})
        with torch.device("meta"), WithoutInitialization():
            if self.task == "SEQ_CLS":
                model = Classifier(config)
                if not self.num_labels:
                    model.classifier = nn.Identity()
                return model
            model = ViTModel(config)
        if self.add_pooling_layer:
            width = self.pooler_output_size or self.hidden_size
            model.pooler = nn.ModuleDict({"dense": linear(width, self.hidden_size)})
        return model
