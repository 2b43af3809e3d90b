"""Questions that any nn.Module can be asked, such as whether it is a norm; two modes to work in."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# What torch.compile, FSDP and checkpoint_wrapper put into the name of a module that they wrap.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# Where a layer keeps its place in the stack.
PLACES = ("layer_idx", "layer_id", "layer_number")
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


def tensor_kind(tensor: Tensor) -> tuple:
    """What decides how many bytes an operation on a tensor takes and saves."""
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.requires_grad


def alike(one: Any, other: Any, met: frozenset[tuple[int, int]] = frozenset()) -> bool:
    """Whether two layers are equal but for the values of their tensors and their places.

    Settings count as well, such as one layer's sliding window. Attributes of a class that this
    doesn't know must be equal by ==. met: the pairs that are being compared.
    """
    pair = id(one), id(other)
    if one is other or pair in met:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return tensor_kind(one) == tensor_kind(other)
    if isinstance(one, nn.Module) or is_dataclass(one):
        one, other = vars(one), vars(other)
    if isinstance(one, list | tuple):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if not isinstance(one, dict):
        return one == other
    names = one.keys() - PLACES
    return one.keys() == other.keys() and all(
        alike(one[name], other[name], met | {pair}) for name in names
    )


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
