"""Reading a `config.json`: which fields say a model's shape, and what is wrong with them."""

import difflib
from typing import Any

from minipeft.core.errors import nearest

REQUIRED = object()  # the default of a size that a config must have

# The end of a class name in the field "architectures", and the task of that class's head.
CLASSES = {
    "ForCausalLM": "CAUSAL_LM",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
    "ForSequenceClassification": "SEQ_CLS",
    "ForImageClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForMaskedLM": "MASKED_LM",
    "LMHeadModel": "CAUSAL_LM",
    "Model": "FEATURE_EXTRACTION",
}
OTHERS = ("EncoderModel", "DoubleHeadsModel")  # these end in "Model" and have parts of their own


def refuse_misspelt(fields: dict[str, Any], known: dict[str, str]) -> None:
    """Raise ValueError for a field that must have been meant to be one of `known`.

    A config.json has many fields that don't concern the shape; none comes as close as this.
    """
    for name in fields.keys() - known.keys():
        if difflib.get_close_matches(name, known, n=1, cutoff=0.87):
            raise ValueError(
                f"config field {name}={fields[name]!r} is not known; {nearest(name, known)}"
            )


def task_of(name: str | None, tasks: tuple[str, ...]) -> str | None:
    """The task of the head that a class has, or None for one that isn't known.

    tasks: what the family has. "T5WithLMHeadModel" is what old files say for its one head.
    """
    for ending, task in CLASSES.items():
        if name is not None and name.endswith(ending) and not name.endswith(OTHERS):
            if ending == "LMHeadModel" and task not in tasks and "SEQ_2_SEQ_LM" in tasks:
                return "SEQ_2_SEQ_LM"
            return task
    return None


def read_sizes(
    sizes: dict[str, object], own_names: dict[str, str], given: dict[str, Any]
) -> dict[str, Any]:
    """The sizes under their one name, defaults filled in.

    Raises ValueError for a size that is missing, or is no size.
    """
    stated = {name: value for name, value in given.items() if value is not None}
    found = {name: stated.get(name, default) for name, default in sizes.items()}
    missing = [own_names.get(name, name) for name in found if found[name] is REQUIRED]
    if missing:
        raise ValueError(f"the model's config lacks {', '.join(missing)}")
    for name, value in found.items():
        check_size(name, value, sizes[name])
    return found


def check_size(name: str, value: object, default: object) -> None:
    """Raise ValueError unless `value` is of the kind of `default`."""
    if value is default:
        return
    if isinstance(default, bool | str):
        kinds = (str, list) if isinstance(default, str) else bool
        if not isinstance(value, kinds):
            raise ValueError(f"{name}={value!r} must be a {type(default).__name__}")
        return
    small = isinstance(default, int) and default <= 2  # such as token types, which may be 0
    least = min(default, 0) if small else 1
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number; the smallest is {least}")


def divided(name: str, size: int, among: int) -> int:
    """The size of each of `among` equal parts. Raises ValueError where they aren't equal."""
    if size % among:
        raise ValueError(
            f"{name}={size} can't be divided by {among}; "
            f"nearest: {max(1, round(size / among)) * among}"
        )
    return size // among
