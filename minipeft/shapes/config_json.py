"""Reading a `config.json`: which fields say a model's shape, and what is wrong with them."""

import difflib
from typing import Any

from minipeft.core.errors import nearest
from minipeft.shapes.family import REQUIRED, Family

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


def one_name(family: type[Family]) -> dict[str, str]:
    """What a field may be called in this family -> its one name here."""
    own = {own: name for name, own in family.own_names.items()}
    return {name: name for name in family.sizes} | own


def refuse_misspelt(fields: dict[str, Any], known: dict[str, str]) -> None:
    """Raise ValueError for a field that must have been meant to be one of `known`.

    A config.json has many fields that don't concern the shape; none comes as close as this.
    """
    for name in fields.keys() - known.keys():
        if difflib.get_close_matches(name, known, n=1, cutoff=0.87):
            raise ValueError(
                f"config field {name}={fields[name]!r} is not known; {nearest(name, known)}"
            )


def head_of(fields: dict[str, Any]) -> str | None:
    """The head that "architectures" names, or None. Raises ValueError for a class not known."""
    for name in fields.get("architectures") or []:
        for ending, task in CLASSES.items():
            if name.endswith(ending) and not name.endswith("EncoderModel"):
                return task
        raise ValueError(
            f"architectures={name!r} is not known; its class must end in {', '.join(CLASSES)}"
        )
    return None


def read_sizes(family: type[Family], given: dict[str, Any]) -> dict[str, Any]:
    """The sizes under their one name, defaults filled in.

    Raises ValueError for a size that is missing, or is no size.
    """
    missing = [
        family.own_names.get(name, name)
        for name, default in family.sizes.items()
        if default is REQUIRED and given.get(name) is None
    ]
    if missing:
        raise ValueError(f"the model's config lacks {', '.join(missing)}")
    found = {
        name: default if given.get(name) is None else given[name]
        for name, default in family.sizes.items()
    }
    for name, default in family.sizes.items():
        check_size(name, found[name], default)
    return found


def check_size(name: str, value: object, default: object) -> None:
    """Raise ValueError unless `value` can stand where `default` does."""
    if value is default:
        return
    if isinstance(default, bool | str):
        kinds = (str, list) if isinstance(default, str) else bool
        if not isinstance(value, kinds):
            raise ValueError(f"{name}={value!r} must be a {type(default).__name__}")
        return
    small = isinstance(default, int) and default <= 2  # such as token types: there may be none
    least = min(default, 0) if small else 1
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number; the smallest is {least}")
