"""An adapter from the tensors of a file: all of them are copied in, or none and it is an error.

peft also writes weights of the base, frozen ones among them: that of an adapted `lm_head`, and the
embeddings once tokens were added. Its loading copies them into the base. Here the base stays as it
is: a weight that the base has already is left unread, another one becomes part of the adapter, as
if it were named in `modules_to_save`, or is refused.
"""

from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor, nn

from minipeft.core.adapter import Adapter
from minipeft.core.config import PeftConfig
from minipeft.core.errors import nearest
from minipeft.core.layer import Tuner
from minipeft.core.linear import dense_weight, is_4bit, requantized
from minipeft.core.modules import modules_by_name
from minipeft.core.replacements import tied_to
from minipeft.interop.sharded import copy_into


def open_adapter(
    model: nn.Module, config: PeftConfig, tensors: dict[str, Tensor] | None = None
) -> Adapter:
    """An adapter built on the bare base, from its file's tensors or (None) as a new one.

    Raises TypeError and ValueError as Adapter, and ValueError unless all tensors fit.
    """
    if tensors is None:
        return Adapter(model, config)
    adapter = Adapter(model, config, new=False)
    trained = trained_beside(adapter, tensors)
    if trained:
        saved = [*(adapter.config.modules_to_save or []), *trained]
        adapter = Adapter(model, replace(config, modules_to_save=saved), new=False)
    load_tensors(adapter, tensors)
    return adapter


def load_tensors(adapter: Adapter, tensors: dict[str, Tensor]) -> None:
    """Copy a file's tensors into an adapter. Raises ValueError, before any copy, unless all fit."""
    own = adapter.state_dict()
    if own and not own.keys() & tensors.keys():
        raise ValueError(
            f"no adapter's file for this: it has {next(iter(tensors), 'nothing')!r}, where "
            f"{next(iter(own))!r} and the like belong"
        )
    for name in own:
        if name not in tensors:
            raise ValueError(f"the adapter file lacks {name!r}; {nearest(name, tensors)}")
    for name, tensor in tensors.items():
        if name in own:
            check_fits(name, tensor, own[name])
        else:
            check_base_has(adapter, name, tensor, own)
    if adapter.prompt is not None and adapter.prompt.encoded:
        raise ValueError(
            f"this {adapter.config.peft_type} adapter is in training: its file holds what the "
            "encoder made, which can't be put back; open it with load_adapter"
        )
    for name in own:
        copy_into(own[name], tensors[name])


def check_fits(name: str, tensor: Tensor, own: Tensor) -> None:
    """Raise ValueError unless a file's tensor can be copied into the adapter's own of that name."""
    if tensor.shape != own.shape:
        raise ValueError(
            f"{name} is {tuple(tensor.shape)} in the file, but this base needs "
            f"{tuple(own.shape)}: was the adapter trained on another base, or with more tokens "
            "(resize_token_embeddings)?"
        )
    if own.is_meta and not tensor.is_meta:
        raise ValueError(
            f"{name} can't be loaded: the base is on the device 'meta' and has no numbers; load "
            "its weights first"
        )
    if tensor.is_floating_point() != own.is_floating_point():
        raise ValueError(f"{name} is {tensor.dtype} in the file, not {own.dtype}")


def check_base_has(adapter: Adapter, name: str, tensor: Tensor, own: dict[str, Tensor]) -> None:
    """Raise ValueError unless a file's tensor is a copy of the base's, which needs no loading."""
    layer, path, last = embeddings_of(adapter, name)
    if layer is None:
        raise ValueError(f"the adapter file has {name!r}, unknown here; {nearest(name, own)}")
    if not is_copy(tensor, layer, last):
        raise ValueError(
            f"{name} is {tuple(tensor.shape)} in the file and not this base's own: the adapter was "
            "trained on another base, or with more tokens, or this weight was trained as well. "
            "First bring it into the base (resize_token_embeddings, then "
            f"base.get_submodule({path!r}).{last}.data.copy_(...)), then load the adapter"
        )


def trained_beside(adapter: Adapter, tensors: dict[str, Tensor]) -> list[str]:
    """The embeddings for which a file brings other numbers than the base's, without an adapter.

    Raises ValueError where another module shares their weight and the file has nothing for it.
    """
    if not hasattr(adapter.config, "modules_to_save"):
        return []
    found: dict[str, nn.Module] = {}
    for name in sorted(tensors.keys() - adapter.state_dict().keys()):
        layer, path, last = embeddings_of(adapter, name)
        free = layer is not None and path not in adapter.replacements
        if free and not is_copy(tensors[name], layer, last):
            found[path] = layer
    for path, other in tied_to(adapter.base_model, found).items():
        if other not in found:
            raise ValueError(
                f"the file has other numbers for {path}, which shares its weight with {other}: "
                f"first bring them into the base, base.get_submodule({path!r}).weight.data.copy_()"
            )
    return sorted(found)


def embeddings_of(adapter: Adapter, name: str) -> tuple[nn.Module | None, str, str]:
    """The base's input or output embeddings that a file's tensor is of, their path, the parameter.

    None for every other tensor: peft writes no more of the base.
    """
    path, _, last = name.removeprefix(adapter.config.file_prefix).rpartition(".")
    path = path.removesuffix(".base_layer")
    layer = modules_by_name(adapter.base_model).get(path)
    model, found = adapter.base_model, []
    for get in ("get_input_embeddings", "get_output_embeddings"):
        with suppress(AttributeError, NotImplementedError):  # a model without them
            found.append(getattr(model, get)())
    if layer is None or not any(layer is module for module in found):
        return None, path, last
    if path in adapter.replacements:
        layer = adapter.replacements[path].base  # whether the adapter is attached or not
    return (layer if last in layer._parameters else None), path, last


def is_copy(tensor: Tensor, layer: nn.Module, name: str) -> bool:
    """Whether a tensor holds the numbers of a layer's parameter, in its dtype or another.

    On the device meta the shapes have to be enough.
    """
    own = layer._parameters[name]
    if own is None:
        return False
    if is_4bit(layer) and name == "weight" and tensor.is_floating_point():
        if tensor.is_meta or own.is_meta:
            return True
        in_4_bits = requantized(layer, tensor.to(own.device), None)
        return torch.equal(dense_weight(in_4_bits), dense_weight(layer))
    if tensor.shape != own.shape or tensor.is_meta or own.is_meta:
        return tensor.shape == own.shape
    tensor = tensor.to(own.device)
    return torch.equal(tensor.to(own.dtype), own) or torch.equal(tensor, own.to(tensor.dtype))


def computes_alike(one: Adapter, other: Adapter) -> bool:
    """Whether two adapters compute the same from the same tensors, which fit both."""

    def numbers(tuner: Tuner) -> dict[str, object]:
        plain = {name: v for name, v in vars(tuner).items() if isinstance(v, int | float | str)}
        return plain | {"training": None}  # the mode is the model's

    def form(adapter: Adapter) -> tuple:
        shapes = {name: tensor.shape for name, tensor in adapter.state_dict().items()}
        return shapes, {path: (type(t), numbers(t)) for path, t in adapter.tuners.items()}

    return form(one) == form(other)
