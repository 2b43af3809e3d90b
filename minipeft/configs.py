"""What a method is asked to do: the fields of `adapter_config.json`, checked when they are made."""

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from minipeft.errors import nearest

# Written by Hugging Face peft beside the options of a method. They change no number.
NOTES_OF_PEFT = {"auto_mapping", "megatron_core", "peft_version", "qalora_group_size", "revision"}


def check_choice(name: str, value: object, choices: list) -> None:
    """Raise ValueError unless `value` is one of `choices` (True is not 1 here)."""
    if not any(
        value is choice or (value == choice and type(value) is type(choice)) for choice in choices
    ):
        shown = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}={value!r} is not known; choose from {shown}")


def check_number(name: str, value: object) -> None:
    """Raise ValueError unless `value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}={value!r} must be a finite number, say 16")


def check_regex(name: str, value: str) -> None:
    """Raise ValueError unless `value` is a regular expression."""
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{name}={value!r} is no regular expression: {error}") from error


def check_list(name: str, value: object, kind: type) -> None:
    """Raise ValueError unless `value` is None or a collection of `kind`."""
    listed = isinstance(value, list | tuple | set | frozenset)
    if value is not None and not (listed and all(type(item) is kind for item in value)):
        raise ValueError(f"{name}={value!r} must be a list of {kind.__name__}, [...], or None")


@dataclass
class PeftConfig:
    """The fields that every method has. Each method adds its own, under the names peft gives them.

    task_type: what the base does ("CAUSAL_LM", "SEQ_CLS", ...), or None. With "SEQ_CLS",
        "TOKEN_CLS" and "QUESTION_ANS" the model's new head is trained and saved too.
    base_model_name_or_path: which base the adapter was trained on, for the file.
    inference_mode: True in files; such an adapter is loaded frozen unless asked otherwise.
    """

    task_type: str | None = None
    base_model_name_or_path: str | None = None
    inference_mode: bool = False

    peft_type: ClassVar[str]  # the method's name in adapter_config.json

    def __new__(cls, *args: Any, **options: Any) -> "PeftConfig":
        fields = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in fields:
                raise TypeError(f"{cls.__name__} has no option {name!r}; {nearest(name, fields)}")
        return super().__new__(cls)

    def fitted(self, paths: list[str]) -> Self:
        """This config once it is known which layers it targets."""
        return self

    def to_json(self) -> str:
        """The text of `adapter_config.json`: sorted keys, indent 2, sets as sorted lists."""
        fields = dataclasses.asdict(self) | {"peft_type": self.peft_type, "inference_mode": True}
        return json.dumps(fields, indent=2, sort_keys=True, default=sorted) + "\n"

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "PeftConfig":
        """A config from the fields of a file.

        An option that this class doesn't have is passed over where it is off (None, False, empty)
        and refused where it is on: leaving it out would give other numbers without a word.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for name, value in fields.items():
            if name not in known | NOTES_OF_PEFT | {"peft_type"} and value:
                raise ValueError(
                    f"adapter_config.json asks for {name}={value!r}, which {cls.__name__} "
                    f"doesn't have; {nearest(name, known)}"
                )
        return cls(**{name: value for name, value in fields.items() if name in known})
