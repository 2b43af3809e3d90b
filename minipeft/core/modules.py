"""Questions that any nn.Module can be asked, such as whether it is a norm; two modes to work in."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.overrides import TorchFunctionMode

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


class WithoutInitialization(TorchFunctionMode):
    """Within it, modules are built without drawing weights that are about to be replaced."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Leave a tensor as it is where torch.nn.init would fill it."""
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)
