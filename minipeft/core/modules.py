"""Questions that any nn.Module can be asked: is it a norm, has it hooks, who reads its weight?"""

import dis
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from types import CodeType

from torch import nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_norm(module: nn.Module) -> bool:
    """LayerNorm, LlamaRMSNorm, T5LayerNorm, ...: vectors alone, in a class with "norm" in its name.

    Families write their own norms, and all of them say so.
    """
    vectors = all(parameter.dim() == 1 for parameter in module.parameters())
    return vectors and not list(module.children()) and "norm" in type(module).__name__.lower()


def has_hooks(module: nn.Module) -> bool:
    """Whether calling the module calls anything else: the same dicts that nn.Module looks at."""
    shared = nn.modules.module
    return any(getattr(module, name) or getattr(shared, f"_global{name}") for name in HOOKS)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; each module's own mode after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@cache
def weights_read_by(kind: type[nn.Module]) -> frozenset[str]:
    """The names of submodules whose `weight` the methods of a class read, past their forward.

    T5 asks `self.wo.weight.dtype`, nn.TransformerEncoderLayer hands `self.linear1.weight` to a
    fused kernel. Both are in the bytecode, as two attributes in a row. Methods that only set a
    module up don't count, nor does asking for the device.
    """
    found: set[str] = set()
    for owner in kind.__mro__[: kind.__mro__.index(nn.Module)]:
        for name, method in vars(owner).items():
            if inspect.isfunction(method) and "init" not in name and "reset" not in name:
                found |= _weights_in(method.__code__)
    return frozenset(found)


def _weights_in(code: CodeType) -> set[str]:
    """The x of each `x.weight`, where x is an attribute itself, in this code and what it holds."""
    steps = [*dis.get_instructions(code)] if "weight" in code.co_names else []
    loads = [step.argval if step.opname == "LOAD_ATTR" else None for step in steps] + [None]
    found = {
        before
        for (before, name), after in zip(pairwise(loads), loads[2:], strict=False)
        if name == "weight" and before is not None and after != "device"
    }
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _weights_in(constant)
    return found
