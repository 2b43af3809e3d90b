"""Families that transformers builds, on the meta device, from a config alone.

transformers is imported when such a family is asked for, and only then. Nothing is downloaded and
no code but transformers' own is run.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from minipeft.core.errors import nearest
from minipeft.core.modules import WithoutInitialization

# Task -> transformers' classes for it, the usual one first.
AUTO = {
    "CAUSAL_LM": ["AutoModelForCausalLM"],
    "SEQ_2_SEQ_LM": ["AutoModelForSeq2SeqLM", "AutoModelForSpeechSeq2Seq"],
    "SEQ_CLS": ["AutoModelForSequenceClassification", "AutoModelForImageClassification"],
    "TOKEN_CLS": ["AutoModelForTokenClassification"],
    "QUESTION_ANS": ["AutoModelForQuestionAnswering"],
    "MASKED_LM": ["AutoModelForMaskedLM"],
    "FEATURE_EXTRACTION": ["AutoModel"],
}


def installed() -> Any | None:
    """The module transformers, or None."""
    try:
        import transformers
    except ImportError:
        return None
    return transformers


def is_class(name: str) -> bool:
    """Whether transformers has a model class of this name."""
    return hasattr(getattr(installed(), name, None), "config_class")


class HuggingFace:
    """A model of transformers by its config; the interface is that of Family.

    task: one of AUTO, or the name of a class of transformers such as "BertForPreTraining".

    Raises ValueError for a field that transformers doesn't know or can't use.
    """

    def __init__(
        self, model_type: str, task: str | None, num_labels: int, fields: dict[str, Any]
    ) -> None:
        self.model_type = model_type
        given = {name: value for name, value in fields.items() if name != "auto_map"}  # remote code
        with self.refusals():
            config = installed().CONFIG_MAPPING[model_type]
            self.config = config.from_dict(given | {"num_labels": num_labels})
        self.tasks = tuple(task for task in AUTO if self.auto(task) is not None)
        self.task = task or self.usual_task()
        if self.task not in self.tasks and not is_class(self.task):
            raise ValueError(
                f"head={task!r} is not built for {model_type!r}; {nearest(task, self.tasks)}"
            )

    @classmethod
    def names(cls, model_type: str) -> dict[str, str]:
        """The fields of the family's config."""
        config = installed().CONFIG_MAPPING[model_type]()
        return {name: name for name in [*config.to_dict(), *config.attribute_map]}

    def auto(self, task: str) -> Any | None:
        """The class that builds a model of this config for a task, or None."""
        for name in AUTO.get(task, []):
            auto = getattr(installed(), name)
            if type(self.config) in auto._model_mapping:
                return auto
        return None

    def usual_task(self) -> str:
        """The head that the family is known for; of an encoder the base alone."""
        if getattr(self.config, "is_encoder_decoder", False) and "SEQ_2_SEQ_LM" in self.tasks:
            return "SEQ_2_SEQ_LM"
        decoder = "CAUSAL_LM" in self.tasks and "MASKED_LM" not in self.tasks
        return "CAUSAL_LM" if decoder else "FEATURE_EXTRACTION"

    def build(self) -> nn.Module:
        """The model on the meta device. Raises ValueError where transformers can't make it."""
        auto, named = self.auto(self.task), getattr(installed(), self.task, None)
        with self.refusals(), torch.device("meta"), WithoutInitialization():
            config = copy.deepcopy(self.config)
            return named(config) if auto is None else auto.from_config(config)

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Each family of transformers checks its fields in its own way: ValueError for all."""
        try:
            yield
        except Exception as error:
            raise ValueError(
                f"transformers can't build model_type={self.model_type!r} from this config: {error}"
            ) from error

    def config_fields(self) -> dict[str, Any]:
        """Its `config.json`."""
        return self.config.to_dict()
