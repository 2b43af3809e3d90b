"""Questions that any nn.Module can be asked, such as whether it is a norm; two modes to work in."""

import dis
import inspect
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from types import CodeType

from torch import nn
from torch.overrides import TorchFunctionMode

# What torch.compile, FSDP and checkpoint_wrapper put into the name of a module that they wrap.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def plain_name(path: str) -> str:
    """A dotted name without wrappers: files say the same whatever the base was wrapped in."""
    return ".".join(part for part in path.split(".") if part not in WRAPPERS)


def modules_by_name(model: nn.Module, remove_duplicate: bool = True) -> dict[str, nn.Module]:
    """Every module by its plain name; of a wrapper and what is in it, the wrapper."""
    found: dict[str, nn.Module] = {}
    for path, module in model.named_modules(remove_duplicate=remove_duplicate):
        found.setdefault(plain_name(path), module)
    return found


def owners_by_name(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module with its plain name, what is in a wrapper as well: whose the parameters are."""
    for path, module in model.named_modules():
        yield plain_name(path), module


def unwrapped(module: nn.Module) -> nn.Module:
    """What is inside all wrappers."""
    inside = (module._modules[name] for name in WRAPPERS if name in module._modules)
    inner = next(inside, None)
    return module if inner is None else unwrapped(inner)


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
def without_hooks(model: nn.Module) -> Iterator[None]:
    """Within the block no hook in the model is called: what others count or keep stays theirs."""
    kept = [(m, name, getattr(m, name)) for m in model.modules() for name in HOOKS]
    for module, name, _ in kept:
        setattr(module, name, OrderedDict())
    try:
        yield
    finally:
        for module, name, hooks in kept:
            setattr(module, name, hooks)


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


class WithoutInitialization(TorchFunctionMode):
    """Within it, modules are built without drawing weights that are about to be replaced."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Leave a tensor as it is where torch.nn.init would fill it."""
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


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
