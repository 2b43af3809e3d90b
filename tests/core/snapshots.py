"""What an error must say, and what it must leave alone: a model's bits, identities and flags."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn


@dataclass
class Snapshot:
    """Everything of a model that code could change behind the user's back."""

    bits: dict[str, Tensor]
    parameters: dict[str, int]
    modules: dict[str, int]
    trains: dict[str, bool]
    modes: dict[str, bool]
    adapters: dict[str, object] = field(default_factory=dict)


def take(model: nn.Module) -> Snapshot:
    """The state now. Parameters and modules by identity: the very same objects must stay."""
    return Snapshot(
        bits={name: values.detach().clone() for name, values in model.state_dict().items()},
        parameters={name: id(values) for name, values in model.named_parameters()},
        modules={name: id(module) for name, module in model.named_modules()},
        trains={name: values.requires_grad for name, values in model.named_parameters()},
        modes={name: module.training for name, module in model.named_modules()},
        adapters=dict(getattr(model, "adapters", {})),
    )


def assert_unchanged(model: nn.Module, before: Snapshot) -> None:
    """Same bits (NaN equal to NaN), same objects, same flags, same adapters."""
    now = take(model)
    assert now.parameters == before.parameters
    assert now.modules == before.modules
    assert now.trains == before.trains
    assert now.modes == before.modes
    assert now.adapters == before.adapters
    assert now.bits.keys() == before.bits.keys()
    for name, values in now.bits.items():
        assert values.dtype == before.bits[name].dtype, name
        assert torch.equal(values.nan_to_num(nan=7.0), before.bits[name].nan_to_num(nan=7.0)), name


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """After the block the model is what it was before it."""
    before = take(model)
    yield
    assert_unchanged(model, before)


def assert_says(error: pytest.ExceptionInfo, *words: str) -> None:
    """The message names every one of these; and it is a sentence, not a bare key."""
    message = str(error.value)
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"
    assert len(message) > 20
