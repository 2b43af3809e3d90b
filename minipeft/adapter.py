"""An adapter is a thing you can hold: a config and the pieces that it puts in place of the base's.

Three kinds of pieces cover what LoRA and its relatives train: an AdaptedLinear for each target, a
trained copy of each module in `modules_to_save`, and a trained copy of each bias that is asked for.
Attaching sets references to the pieces, detaching sets them back: no tensor moves, and the base
that comes back is the base that went in.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor, nn

from minipeft.adapted import AdaptedLinear, is_conv1d, oriented
from minipeft.configs import LayerConfig
from minipeft.errors import nearest
from minipeft.targets import (
    expand_all_linear,
    find_targets,
    is_below,
    modules_to_save,
    without_strangers,
)


@dataclass
class Swap:
    """One place in the model: `piece` stands there when attached, `base` when not."""

    sites: list[tuple[nn.Module, str]]  # (owner, attribute); several where a module is shared
    base: nn.Module | nn.Parameter
    piece: nn.Module | nn.Parameter

    def put(self, value: nn.Module | nn.Parameter) -> None:
        for owner, attribute in self.sites:
            setattr(owner, attribute, value)
            if isinstance(value, nn.Module):
                value.train(owner.training)  # it missed what train() and eval() said meanwhile


class Adapter:
    """A config and its swaps by dotted name. Building one changes nothing in the model.

    model: the bare base. config: what to build; the adapter keeps a completed copy.
    tensors: what a file holds, or None for a fresh start.

    Raises ValueError for a config or tensors that don't fit the model.
    """

    def __init__(
        self, model: nn.Module, config: LayerConfig, tensors: dict[str, Tensor] | None = None
    ) -> None:
        if not isinstance(config, LayerConfig):
            raise TypeError(f"peft_config must be a config such as LoraConfig, not {config!r}")
        if str(config.target_modules).lower() == "all-linear":
            config = replace(config, target_modules=expand_all_linear(model, config))
        if tensors is not None:
            config = without_strangers(model, config)
        targets = find_targets(model, config)
        weights = {path: oriented(layer.weight, layer) for path, layer in targets.items()}
        saved = modules_to_save(model, config)
        if tensors is None:
            config = config.fitted({path: tuple(w.shape) for path, w in weights.items()})
        self.config = replace(
            config,
            fan_in_fan_out=any(is_conv1d(layer) for layer in targets.values()),
            modules_to_save=sorted(saved) or config.modules_to_save,
            base_model_name_or_path=(
                config.base_model_name_or_path or getattr(model, "name_or_path", None) or None
            ),
        )
        sites = places(model)
        self.swaps: dict[str, Swap] = {}
        for path, layer in targets.items():
            adapted = AdaptedLinear(layer, self.config.tuner(path, weights[path]))
            self.swaps[path] = Swap(sites[id(layer)], layer, adapted)
        for path, module in saved.items():
            trained = copy.deepcopy(module).requires_grad_(True)
            self.swaps[path] = Swap(sites[id(module)], module, trained)
        for path, owner, name in biases(model, config.bias, list(targets), list(saved)):
            bias = getattr(owner, name)
            trained = nn.Parameter(bias.detach().clone())
            self.swaps[f"{path}.{name}"] = Swap([(owner, name)], bias, trained)
        if tensors is not None:
            self.load_state_dict(tensors)
        for _, parameter in self.named_parameters():
            parameter.requires_grad_(not config.inference_mode)

    def attach(self) -> None:
        for swap in self.swaps.values():
            swap.put(swap.piece)

    def detach(self) -> None:
        for swap in self.swaps.values():
            swap.put(swap.base)

    @property
    def layers(self) -> dict[str, AdaptedLinear]:
        """The adapted layers by dotted name."""
        pieces = {path: swap.piece for path, swap in self.swaps.items()}
        return {path: piece for path, piece in pieces.items() if isinstance(piece, AdaptedLinear)}

    @property
    def merged(self) -> bool:
        """Whether W' stands in place of W0."""
        return any(layer.merged for layer in self.layers.values())

    def unsafe_layer(self) -> str | None:
        """The first layer, if any, whose W' would hold NaN or inf."""
        return next(
            (path for path, layer in self.layers.items() if not layer.merges_safely()), None
        )

    def merge(self) -> dict[str, float]:
        """Merge every layer; the largest rounding error of W' by layer."""
        return {path: layer.merge() for path, layer in self.layers.items()}

    def unmerge(self) -> None:
        """Put every W0 back."""
        for layer in self.layers.values():
            layer.unmerge()

    def settle(self) -> None:
        """Make a merge final: the base's own layers take their places again, with W'."""
        for path, layer in self.layers.items():
            layer.kept = ()
            self.swaps[path].put(layer.base_layer)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What the adapter trains, under the names that a file has.

        A target's bias is called `<path>.base_layer.bias` there, as in peft.
        """
        for path, swap in self.swaps.items():
            if isinstance(swap.piece, AdaptedLinear):
                yield from swap.piece.tuner.named_parameters(prefix=path)
            elif isinstance(swap.piece, nn.Module):
                yield from swap.piece.named_parameters(prefix=path)
            else:
                owner, _, name = path.rpartition(".")
                yield (f"{owner}.base_layer.{name}" if owner in self.swaps else path), swap.piece

    def count(self) -> tuple[int, int]:
        """(trained, added to the base): a bias is trained in its place, so it adds nothing."""
        pieces = [parameter for _, parameter in self.named_parameters()]
        trained = sum(parameter.numel() for parameter in pieces if parameter.requires_grad)
        bases = [swap.base for swap in self.swaps.values()]
        biases = sum(base.numel() for base in bases if isinstance(base, nn.Parameter))
        return trained, sum(parameter.numel() for parameter in pieces) - biases

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors of the adapter's file, without the file's prefix. Buffers included."""
        tensors = {name: parameter.detach() for name, parameter in self.named_parameters()}
        for path, swap in self.swaps.items():
            if isinstance(swap.piece, nn.Module) and not isinstance(swap.piece, AdaptedLinear):
                tensors |= swap.piece.state_dict(prefix=f"{path}.")
        return tensors

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Copy tensors in. Raises ValueError, with nothing changed, unless all fit."""
        own = self.state_dict()
        for name in own:
            if name not in tensors:
                raise ValueError(f"the adapter file lacks {name!r}; {nearest(name, tensors)}")
        for name, tensor in tensors.items():
            if name not in own:
                raise ValueError(
                    f"the adapter file has {name!r}, unknown here; {nearest(name, own)}"
                )
            if tensor.shape != own[name].shape:
                raise ValueError(
                    f"{name} is {tuple(tensor.shape)} in the file, but this base needs "
                    f"{tuple(own[name].shape)}: was the adapter trained on another base?"
                )
            if tensor.is_floating_point() != own[name].is_floating_point():
                raise ValueError(f"{name} is {tensor.dtype} in the file, not {own[name].dtype}")
        for name, tensor in tensors.items():
            own[name].copy_(tensor)

    def apply_out_of_tree(self, function: Callable[[Tensor], Tensor]) -> None:
        """Let `.to`, `.half` and the like reach what the model's tree doesn't hold just now."""
        for swap in self.swaps.values():
            for thing in (swap.base, swap.piece):
                if isinstance(thing, AdaptedLinear):
                    thing.tuner._apply(function)
                elif isinstance(thing, nn.Module):
                    thing._apply(function)
                else:
                    thing.data = function(thing.data)


def places(model: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """For each module (by id) every owner and attribute that reaches it."""
    found: dict[int, list[tuple[nn.Module, str]]] = {}
    for owner in model.modules():
        for attribute, module in owner._modules.items():  # named_children hides second names
            if module is not None:
                found.setdefault(id(module), []).append((owner, attribute))
    return found


def biases(
    model: nn.Module, which: str, targets: list[str], saved: list[str]
) -> Iterator[tuple[str, nn.Module, str]]:
    """Owner's path, owner and name of each bias trained under "none", "lora_only" or "all"."""
    for path, owner in model.named_modules():
        wanted = which == "all" or (which == "lora_only" and path in targets)
        if wanted and not is_below(path, saved):
            for name, _ in owner.named_parameters(recurse=False):
                if "bias" in name:  # in_proj_bias of nn.MultiheadAttention, too
                    yield path, owner, name
