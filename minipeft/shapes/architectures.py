"""Architectures: the sizes of a model, from a name, a `config.json`, keywords or a model itself.

Architecture("decoder", vocab_size=32_000, hidden_size=512, intermediate_size=1376,
             num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2)
"""

from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from minipeft.core.disk import read_json
from minipeft.core.errors import nearest
from minipeft.core.modules import WithoutInitialization
from minipeft.models import llama, vit
from minipeft.shapes.config_json import CLASSES, check_size, refuse_misspelt, task_of
from minipeft.shapes.family import FAMILIES, Family
from minipeft.shapes.hugging_face import AUTO, HuggingFace, installed, is_class

# What can be run without transformers: the task, the model and its config.
LLAMA = "CAUSAL_LM", llama.Llama, llama.LlamaConfig
OWN = {"llama": LLAMA, "mistral": LLAMA, "qwen2": LLAMA, "vit": ("SEQ_CLS", vit.ViT, vit.ViTConfig)}
# For a model of one's own: the family that each kind is built as.
KINDS = {"decoder": "llama", "encoder": "bert", "encoder-decoder": "t5"}


class Architecture:
    """The shape of a model: what can be counted without its numbers.

    model_type: a family's name in transformers ("llama", "gpt2", "bert", "t5", "vit", ...), or
        "decoder" (Llama's shape), "encoder" (BERT's), "encoder-decoder" (T5's). Families that are
        not written here need transformers, which builds them.
    head: "CAUSAL_LM", "SEQ_CLS", ... as peft's task_type, or None for the family's usual one;
        "FEATURE_EXTRACTION" is the base alone. num_labels: the classes of a classifier.
    fields: the sizes, as in the family's `config.json`; `hidden_size`, `intermediate_size`,
        `num_hidden_layers` and `num_attention_heads` are understood in every family.

    Raises ValueError for a family, head or size that isn't known, is missing or doesn't fit.
    """

    def __init__(
        self,
        model_type: str = "decoder",
        head: str | None = None,
        num_labels: int = 2,
        **fields: Any,
    ) -> None:
        kind = KINDS.get(model_type, model_type)
        known = family_of(kind).names(kind)
        for name, value in fields.items():
            if name not in known:
                raise ValueError(
                    f"{name}={value!r} is no size of {model_type!r}; {nearest(name, known)}"
                )
        self._describe(kind, head, num_labels, fields)

    def _describe(
        self, model_type: str, head: str | None, num_labels: int, fields: dict[str, Any]
    ) -> Self:
        check_size("num_labels", num_labels, 2)
        self.model_type, self.fields = model_type, fields
        self.given = {"head": head, "num_labels": num_labels}
        self.shape = family_of(model_type, head)(model_type, head, num_labels, fields)
        return self

    @classmethod
    def from_config(cls, config: dict[str, Any] | str | Path) -> Self:
        """The architecture of a Hugging Face config: a dict, a `config.json`, or its folder.

        Raises FileNotFoundError, and ValueError for what is no JSON or no known architecture.
        """
        given = config if isinstance(config, dict) else read_json(config)
        model_type = given.get("model_type")
        named = next(iter(given.get("architectures") or []), None)
        family = family_of(model_type)
        if family is not HuggingFace:
            refuse_misspelt(given, family.names(model_type))
        task = task_of(named, FAMILIES.get(model_type, {}).get("tasks", ()))
        if named is not None and task is None:
            if family_of(model_type, named) is not HuggingFace:
                raise ValueError(
                    f"architectures={named!r} is not known; its class must end in "
                    f"{', '.join(CLASSES)}"
                )
            task = named
        labels = given.get("num_labels", len(given.get("id2label") or "01"))
        return cls.__new__(cls)._describe(model_type, task, labels, given)

    def but(self, **changes: Any) -> "Architecture":
        """The same with other sizes or another head."""
        given = {name: changes.pop(name, value) for name, value in self.given.items()}
        known = self.shape.names(self.model_type)
        one = {known.get(name, name) for name in changes}
        kept = {name: v for name, v in self.fields.items() if known.get(name, name) not in one}
        twin = Architecture.__new__(Architecture)
        return twin._describe(self.model_type, fields=kept | changes, **given)

    def like(self, other: "Architecture") -> bool:
        """Whether the two have the same sizes, whatever their heads."""
        mine, others = self.shape.config_fields(), other.shape.config_fields()
        return self.model_type == other.model_type and mine == others

    @property
    def head(self) -> str:
        """The task of the head."""
        return self.shape.task

    @cached_property
    def model(self) -> nn.Module:
        """Its modules under the names they have in transformers, on the meta device."""
        return self.build()

    def build(self, run: bool = False) -> nn.Module:
        """Such a model, for the caller to change.

        run: one that can be run, our own or transformers'; where that isn't installed, a MetaModel.
        """
        task, model, config = OWN.get(self.model_type, (None, None, None))
        if run and task == self.head and self.given["num_labels"]:
            sizes = vars(self.shape) | {"attention_bias": getattr(self.shape, "qkv_bias", False)}
            known = [field.name for field in fields(config) if sizes.get(field.name) is not None]
            with torch.device("meta"), WithoutInitialization():
                return model(config(**{name: sizes[name] for name in known}))
        if not run or isinstance(self.shape, HuggingFace) or installed() is None:
            return self.shape.build()
        sizes = {k: v for k, v in self.shape.config_fields().items() if v is not None}
        labels = self.given["num_labels"]
        return HuggingFace(self.model_type, self.head, labels, self.fields | sizes).build()

    @cached_property
    def total(self) -> int:
        """Its parameters; those that two modules share are counted once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def __repr__(self) -> str:
        given = (self.given | self.fields).items()
        listed = ", ".join(f"{name}={value!r}" for name, value in given if value is not None)
        return f"Architecture({self.model_type!r}, {listed})"


def family_of(model_type: object, head: str | None = None) -> type[Family] | type[HuggingFace]:
    """Who builds a family: one of FAMILIES, or transformers, also for a head that it alone has.

    head: a task, or the name of a class of transformers. Raises ValueError for an unknown family.
    """
    if model_type in FAMILIES and (head is None or head in AUTO or not is_class(head)):
        return Family
    known = list(getattr(installed(), "CONFIG_MAPPING", [])) if model_type else []
    if model_type in known:
        return HuggingFace
    hint = nearest(model_type, [*KINDS, *FAMILIES, *known], most=20)
    more = "" if known else "; transformers, where it is installed, knows more"
    raise ValueError(f"model_type={model_type!r} is not known; {hint}{more}")
