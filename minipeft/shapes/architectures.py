"""Architectures: the sizes of a model, from a name, a `config.json`, keywords or a model itself.

from minipeft.budget import Architecture
Architecture("decoder", vocab_size=32_000, hidden_size=512, intermediate_size=1376,
             num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2)
"""

from functools import cached_property
from pathlib import Path
from typing import Any, Self

from minipeft.core.errors import nearest
from minipeft.core.reading import read_json
from minipeft.shapes.config_json import (
    check_size,
    head_of,
    one_name,
    read_sizes,
    refuse_misspelt,
)
from minipeft.shapes.decoders import GPT2, Llama, Mistral, Qwen2
from minipeft.shapes.encoder_decoders import MT5, T5, Whisper
from minipeft.shapes.encoders import Bert, DebertaV2, Roberta, ViT
from minipeft.shapes.family import Family
from minipeft.shapes.layer_stack import LayerStack
from minipeft.shapes.meta_model import MetaModel

FAMILIES: dict[str, type[Family]] = {
    "llama": Llama,
    "mistral": Mistral,
    "qwen2": Qwen2,
    "gpt2": GPT2,
    "bert": Bert,
    "roberta": Roberta,
    "deberta-v2": DebertaV2,
    "t5": T5,
    "mt5": MT5,
    "vit": ViT,
    "whisper": Whisper,
}
# For a model of one's own: each kind after the family that stands for it.
KINDS = {"decoder": "llama", "encoder": "bert", "encoder-decoder": "t5"}


class Architecture:
    """The shape of a model: what can be counted without its numbers.

    model_type: a family's name in transformers ("llama", "gpt2", "bert", "t5", "vit", ...), or
        "decoder" (Llama's shape), "encoder" (BERT's), "encoder-decoder" (T5's).
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
        self.model_type, family = family_of(model_type)
        if head is not None and head not in family.tasks:
            raise ValueError(
                f"head={head!r} is not built for {model_type!r}; {nearest(head, family.tasks)}"
            )
        known = one_name(family)
        for name, value in fields.items():
            if name not in known:
                raise ValueError(
                    f"{name}={value!r} is no size of {model_type!r}; {nearest(name, known)}"
                )
        check_size("num_labels", num_labels, 2)
        self.given = {"head": head, "num_labels": num_labels, **fields}
        sizes = read_sizes(family, {known[name]: fields[name] for name in fields})
        self.shape = family(self.model_type, head or family.tasks[0], num_labels, sizes)

    @classmethod
    def from_config(cls, config: dict[str, Any] | str | Path) -> Self:
        """The architecture of a Hugging Face config: a dict, a `config.json`, or its folder.

        Raises FileNotFoundError, and ValueError for what is no JSON or no known architecture.
        """
        fields = config if isinstance(config, dict) else read_json(config)
        known = one_name(family_of(fields.get("model_type"))[1])
        refuse_misspelt(fields, known)
        labels = fields.get("num_labels", len(fields.get("id2label") or "01"))
        shape = {name: value for name, value in fields.items() if name in known}
        return cls(fields["model_type"], head_of(fields), labels, **shape)

    def but(self, **changes: Any) -> "Architecture":
        """The same with other sizes or another head."""
        return Architecture(self.model_type, **self.given | changes)

    def like(self, other: "Architecture") -> bool:
        """Whether the two have the same sizes, whatever their heads."""
        heads = {"head": None, "num_labels": 2}
        return vars(self.but(**heads).shape) == vars(other.but(**heads).shape)

    @property
    def head(self) -> str:
        """The task of the head."""
        return self.shape.task

    @cached_property
    def stacks(self) -> list[LayerStack]:
        """Its transformer layers: one stack, or an encoder's and a decoder's."""
        return self.shape.stacks()

    @cached_property
    def model(self) -> MetaModel:
        """Its modules under the names they have in transformers."""
        return self._meta_model(canonical=False)

    @cached_property
    def canonical(self) -> MetaModel:
        """Its modules with `q_proj` ... `down_proj` for the family's names, one matrix each."""
        return self._meta_model(canonical=True)

    def _meta_model(self, canonical: bool) -> MetaModel:
        shape, words = self.shape, self.shape.in_base(self.shape.words)
        return MetaModel(shape.parts(canonical), shape, words, shape.output(), canonical)

    @cached_property
    def total(self) -> int:
        """Its parameters; those that two modules share are counted once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def __repr__(self) -> str:
        shown = {name: value for name, value in self.given.items() if value is not None}
        listed = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        return f"Architecture({self.model_type!r}, {listed})"


def family_of(model_type: object) -> tuple[str, type[Family]]:
    """A family and its name in transformers. Raises ValueError for one that isn't known."""
    kind = KINDS.get(model_type, model_type)
    if kind not in FAMILIES:
        known = nearest(model_type, [*KINDS, *FAMILIES], most=20)
        raise ValueError(f"model_type={model_type!r} is not known; {known}")
    return kind, FAMILIES[kind]
