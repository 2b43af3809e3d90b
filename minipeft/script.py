"""Names of Hugging Face peft that scripts use beside its models and configs."""

from enum import Enum
from pathlib import Path
from typing import Any

from torch import Tensor

from minipeft.core.config import METHODS
from minipeft.interop.files import read_tensors
from minipeft.interop.hugging_face import LoadResult, check_keywords
from minipeft.model import PeftModel


class TaskType(str, Enum):  # noqa: UP042 (print shows it as in peft)
    """What a base does: peft's values of `task_type`."""

    SEQ_CLS = "SEQ_CLS"
    SEQ_2_SEQ_LM = "SEQ_2_SEQ_LM"
    CAUSAL_LM = "CAUSAL_LM"
    TOKEN_CLS = "TOKEN_CLS"
    QUESTION_ANS = "QUESTION_ANS"
    FEATURE_EXTRACTION = "FEATURE_EXTRACTION"


class Name(str, Enum):  # noqa: UP042 (as above)
    """A string under a name of its own, which an f-string shows as the plain string."""

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)  # str.__format__ would ask Enum for the word


PeftType = Name("PeftType", {name: name for name in METHODS}, module=__name__)
for name, kind in METHODS.items():
    kind.peft_type = PeftType[name]  # so that configs have peft's `config.peft_type.value`


def get_peft_model_state_dict(
    model: PeftModel,
    state_dict: dict[str, Tensor] | None = None,
    adapter_name: str = "default",
    **options: Any,
) -> dict[str, Tensor]:
    """What an adapter's file would hold: its tensors, without its name in theirs.

    state_dict: the model's own, to take the values from in place of the model's present ones.
    Raises ValueError for an unknown name, or a state_dict that lacks a tensor of the adapter.
    """
    check_keywords("get_peft_model_state_dict", options, ["unwrap_compiled"])
    model = getattr(model, "_orig_mod", model)
    return model.file_tensors(adapter_name, state_dict)


def set_peft_model_state_dict(
    model: PeftModel,
    peft_model_state_dict: dict[str, Tensor],
    adapter_name: str = "default",
    **options: Any,
) -> LoadResult:
    """Copy into an adapter what `get_peft_model_state_dict` or a file gave.

    Raises ValueError, with nothing changed, unless every tensor fits; peft leaves out those that
    don't. RuntimeError for a merged adapter, whose W' would stay what it was.
    """
    check_keywords("set_peft_model_state_dict", options)
    model = getattr(model, "_orig_mod", model)
    model.load_tensors(adapter_name, peft_model_state_dict)
    return LoadResult([], [])


def load_peft_weights(model_id: str | Path, **options: Any) -> dict[str, Tensor]:
    """The tensors of an adapter folder. Raises FileNotFoundError and ValueError as load_adapter."""
    check_keywords("load_peft_weights", options, ["device"])
    device = options.get("device") or "cpu"
    return {name: tensor.to(device) for name, tensor in read_tensors(model_id).items()}
