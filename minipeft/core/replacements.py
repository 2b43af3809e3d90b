"""Replacement: a module or parameter in place of one of the base, and the way back."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn

from minipeft.core.adapted import AdaptedLinear
from minipeft.core.config import PeftConfig
from minipeft.core.modules import owners_by_name, unwrapped
from minipeft.core.patterns import is_below


@dataclass
class Replacement:
    """One module or parameter of the model: `new` while the adapter is attached, else `base`."""

    sites: list[tuple[nn.Module, str]]  # (owner, attribute); several where a module is shared
    base: nn.Module | nn.Parameter
    new: nn.Module | nn.Parameter

    def put(self, value: nn.Module | nn.Parameter) -> None:
        """Set every reference to `value`, in the owner's train or eval mode."""
        for owner, attribute in self.sites:
            setattr(owner, attribute, value)
            if isinstance(value, nn.Module) and value.training != owner.training:
                value.train(owner.training)  # it missed what train() or eval() said meanwhile

    def adopt(self, path: str) -> None:
        """Take as `new` the module that the user has set since, such as a head of another size.

        Raises RuntimeError for an adapted layer: the model does not hold its adapter any more.
        """
        if isinstance(self.new, nn.Parameter):  # FSDP2 takes parameters' places: see `live`
            return
        owner, attribute = self.sites[0]
        now = getattr(owner, attribute)
        if now is self.new or (isinstance(now, nn.Module) and unwrapped(now) is self.new):
            return
        if isinstance(self.new, AdaptedLinear):
            raise RuntimeError(
                f"{path} holds a {type(now).__name__} that was put there after the adapter was "
                "attached; unload(), change the base, and attach the adapter again"
            )
        self.new = now

    def check_detachable(self) -> None:
        """Raise RuntimeError for a trained parameter that FSDP2 holds, and would set again."""
        if hasattr(self.live(), "full_tensor"):
            raise RuntimeError(
                f"FSDP2 holds the trained {self.sites[0][1]}, which so can't be set back: save the "
                "adapter, and load it on a base that isn't sharded"
            )

    def live(self) -> nn.Module | nn.Parameter:
        """`new`, or the DTensor that FSDP2 has set in place of a trained parameter."""
        owner, attribute = self.sites[0]
        now = owner._parameters.get(attribute)
        if isinstance(self.new, nn.Parameter) and hasattr(now, "full_tensor"):
            self.new = now
        return self.new

    def named_parameters(self, path: str) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that `new` adds to the base, by their dotted name in the base."""
        if isinstance(self.live(), nn.Parameter):
            yield path, self.new
        else:
            adapted = isinstance(self.new, AdaptedLinear)
            yield from (self.new.tuner if adapted else self.new).named_parameters(path)


def places(model: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """For each module (by id) every owner and attribute that reaches it."""
    found: dict[int, list[tuple[nn.Module, str]]] = {}
    for owner in model.modules():
        for attribute, module in owner._modules.items():  # named_children hides second names
            if module is not None:
                found.setdefault(id(module), []).append((owner, attribute))
    return found


def saved_modules(
    model: nn.Module, saved: dict[str, nn.Module], together: bool
) -> dict[str, Replacement]:
    """A trained copy of each module. together: the copies share the tensors that the modules do."""
    sites, memo, replacements = places(model), {}, {}
    for path, module in saved.items():
        check_dense(module.named_parameters(path))
        trained = copy.deepcopy(module, memo if together else {}).requires_grad_(True)
        replacements[path] = Replacement(sites[id(module)], module, trained)
    return replacements


def trained_parameters(
    model: nn.Module,
    config: PeftConfig,
    targets: dict[str, nn.Module],
    saved: dict[str, nn.Module],
) -> dict[str, Replacement]:
    """A trained copy of each parameter that the method trains in its place.

    A parameter of several modules, such as the bias of BERT's predictions, has one copy.
    """
    sites: dict[int, list[tuple[nn.Module, str]]] = {}
    wanted: dict[str, nn.Parameter] = {}
    for path, owner in owners_by_name(model):
        if is_below(path, saved):
            continue
        for name, parameter in owner.named_parameters(recurse=False):
            sites.setdefault(id(parameter), []).append((owner, name))
            if config.trains(path, owner, name, path in targets):
                wanted[f"{path}.{name}" if path else name] = parameter
    check_dense(wanted.items())
    copies = {id(base): nn.Parameter(base.detach().clone()) for base in wanted.values()}
    return {
        place: Replacement(sites[id(base)], base, copies[id(base)])
        for place, base in wanted.items()
    }


def check_dense(wanted: Iterable[tuple[str, nn.Parameter]]) -> None:
    """Raise ValueError for a weight in 4 bits: no gradient moves a code."""
    for path, parameter in wanted:
        if not parameter.is_floating_point():
            raise ValueError(
                f"{path} is stored in 4 bits and can't be trained in full; put an adapter on it, "
                "or keep it dense by naming it in quantize_model(skip=[...])"
            )


def tied_to(model: nn.Module, layers: dict[str, nn.Module]) -> dict[str, str]:
    """Which of these layers share a parameter with another module, and with which one."""
    owners: dict[int, list[tuple[str, nn.Module]]] = {}
    for path, module in owners_by_name(model):
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append((path, module))
    tied = {}
    for path, layer in layers.items():
        for parameter in layer.parameters():
            others = [name for name, module in owners[id(parameter)] if module is not layer]
            others = [name for name in others if not is_below(name, [path])]
            if others:
                tied[path] = others[0]
    return tied


def check_tied(model: nn.Module, saved: dict[str, nn.Module]) -> None:
    """Raise ValueError if training a copy of one of these modules would untie its weight."""
    for path, other in tied_to(model, saved).items():
        if not is_below(other, saved):
            raise ValueError(
                f"modules_to_save={path!r} shares its weight with {other!r}, and a trained copy "
                f"would untie them; name both, {path!r} and {other!r}, to train them as one"
            )
