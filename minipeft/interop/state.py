"""The tensors of the adapters that are not in the model's tree, for its `state_dict`.

The tree holds the base and the active adapter, under their own names. Every other adapter's
tensors are called `adapters.<its name>.<place>.<tensor>`, so that none takes another's place.
"""

from torch import Tensor, nn

from minipeft.core.adapted import AdaptedLinear
from minipeft.core.adapter import Adapter
from minipeft.core.errors import nearest

PREFIX = "adapters."


def held_tensors(adapter: Adapter) -> dict[str, Tensor]:
    """Every parameter and buffer of an adapter by its place, as it is trained and not as in files.

    Each is the adapter's own tensor, so that writing into it changes the adapter.
    """
    tensors: dict[str, Tensor] = {}
    for path, replacement in adapter.replacements.items():
        new = replacement.new.tuner if isinstance(replacement.new, AdaptedLinear) else None
        new = replacement.new if new is None else new
        if isinstance(new, nn.Module):
            tensors |= new.state_dict(prefix=f"{path}.")
        else:
            tensors[path] = new.detach()
    if adapter.prompt is not None:
        tensors |= adapter.prompt.state_dict(prefix="prompt.")
    return tensors


def state_of_adapters(adapters: dict[str, Adapter], prefix: str) -> dict[str, Tensor]:
    """What a `state_dict` holds of these adapters."""
    return {
        f"{prefix}{PREFIX}{name}.{key}": tensor
        for name, adapter in adapters.items()
        for key, tensor in held_tensors(adapter).items()
    }


def named_in(state: dict[str, Tensor], prefix: str) -> set[str]:
    """The adapters whose tensors a `state_dict` holds outside the tree."""
    start = prefix + PREFIX
    return {key[len(start) :].partition(".")[0] for key in state if key.startswith(start)}


def active_in(state: dict[str, Tensor], prefix: str, adapters: dict[str, Adapter]) -> str | None:
    """The one of these adapters that was active when `state` was saved, or None.

    Raises RuntimeError for a state of other adapters.
    """
    there = named_in(state, prefix)
    for name in there - adapters.keys():
        raise RuntimeError(f"the state holds an adapter {name!r}; {nearest(name, adapters)}")
    rest = adapters.keys() - there
    if len(rest) > 1:
        raise RuntimeError(
            f"the state is that of a model with {len(there) + 1} adapters, and doesn't say which "
            f"of {', '.join(sorted(rest))} is which; save it again with all of them attached"
        )
    return next(iter(rest), None)


def load_adapters(adapters: dict[str, Adapter], state: dict[str, Tensor], prefix: str) -> None:
    """Copy the tensors of these adapters in. Raises RuntimeError, before any, unless all fit."""
    own = state_of_adapters(adapters, prefix)
    start = prefix + PREFIX
    given = {key: tensor for key, tensor in state.items() if key.startswith(start)}
    for key in own.keys() ^ given.keys():
        where = "lacks" if key in own else "has"
        raise RuntimeError(f"the state {where} {key!r}; {nearest(key, own)}")
    for key, tensor in own.items():
        if tensor.shape != given[key].shape:
            raise RuntimeError(f"{key} is {tuple(given[key].shape)}, not {tuple(tensor.shape)}")
    for key, tensor in own.items():
        tensor.copy_(given[key])
