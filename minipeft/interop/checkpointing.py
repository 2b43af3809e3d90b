"""Re-entrant gradient checkpointing: a block's parameters learn only if its input asks for it.

torch.utils.checkpoint with use_reentrant=True, which is transformers' default, gives no gradient
to anything inside a block whose input has none. A frozen base has none: its embeddings don't learn.
So while a model checkpoints that way, what enters it is told to take a gradient, as peft does.
"""

import re
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle

INPUTS = ("inputs_embeds", "pixel_values", "input_features", "input_values")  # numbers, no ids


def give_input_gradients(model: nn.Module) -> list[RemovableHandle]:
    """Let the model's inputs and what leaves its embeddings take a gradient where blocks need it.

    The switch may be turned on and off later. Nothing is done for a model without one.
    """
    switches = [module for module in model.modules() if hasattr(module, "gradient_checkpointing")]
    if not switches:
        return []
    embeddings = [
        module
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding) and not re.search(r"\.\d+\.", path)  # not in a block
    ]
    handles = [e.register_forward_hook(partial(after_embedding, switches)) for e in embeddings]
    before = partial(before_model, switches)
    return [*handles, model.register_forward_pre_hook(before, with_kwargs=True)]


def is_reentrant(switches: list[nn.Module]) -> bool:
    """Whether one of these modules now computes its layers twice, in the re-entrant way."""
    return torch.is_grad_enabled() and any(
        module.gradient_checkpointing
        and module.training
        and getattr(module._gradient_checkpointing_func, "keywords", {}).get("use_reentrant", True)
        for module in switches
        if hasattr(module, "_gradient_checkpointing_func")
    )


def taking_gradient(value: Any) -> Any:
    """The same numbers, as a tensor that takes a gradient; what holds no numbers as it is."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.requires_grad:
        return value
    return value.detach().requires_grad_()


def after_embedding(switches: list[nn.Module], module: nn.Module, args: tuple, h: Tensor) -> Any:
    """A forward hook of embeddings: h takes a gradient where blocks are re-entrant."""
    return taking_gradient(h) if is_reentrant(switches) else None


def before_model(
    switches: list[nn.Module], model: nn.Module, args: tuple, options: dict[str, Any]
) -> tuple[tuple, dict[str, Any]] | None:
    """A forward pre-hook of the model: inputs that are numbers take a gradient as well."""
    if not is_reentrant(switches):
        return None
    numbers = {name: taking_gradient(options[name]) for name in INPUTS if name in options}
    return tuple(tree_map(taking_gradient, args)), options | numbers
