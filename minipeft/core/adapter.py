"""Adapter: a config and a reversible set of replacements.

A replacement is an AdaptedLinear for each target, a trained copy of each module in
`modules_to_save`, or a trained copy of a parameter that the method trains in place (a bias). An
adapter may also hold one soft prompt. Attaching sets references to the replacements, detaching
sets them back: no tensor moves, and the base is the same after as before.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor, nn

from minipeft.core.adapted import AdaptedLinear
from minipeft.core.config import LayerConfig, PeftConfig, nearest_config
from minipeft.core.layer import NotMergeable, Tuner
from minipeft.core.linear import is_conv1d
from minipeft.core.replacements import (
    Replacement,
    check_tied,
    places,
    saved_modules,
    tied_to,
    trained_parameters,
)
from minipeft.core.target_checks import (
    check_all_used,
    check_head,
    check_names,
    check_targets,
    without_unmatched_names,
)
from minipeft.core.targets import expand_all_linear, find_targets, modules_to_save


class Adapter:
    """A config and its replacements. Building one changes nothing in the model.

    model: the bare base. config: what to build; the adapter keeps a completed copy.
    new: True for an adapter that starts to learn, False for one whose tensors will come from a
        file (interop/loading.py); a file's config may name modules that this model lacks.
    replacements: each by dotted name. prompt: the soft prompt, or None.

    Raises TypeError for what is no config, ValueError for one that doesn't fit the model.
    """

    def __init__(self, model: nn.Module, config: PeftConfig, new: bool = True) -> None:
        if not isinstance(config, PeftConfig) or not hasattr(config, "peft_type"):
            raise TypeError(
                f"peft_config={config!r} is none of minipeft's; {nearest_config(config)}"
            )
        name = config.base_model_name_or_path or getattr(model, "name_or_path", None) or None
        config = replace(config.with_model_defaults(model), base_model_name_or_path=name)
        targets: dict[str, nn.Module] = {}
        if isinstance(config, LayerConfig):
            config, targets = layers_for(model, config, new)
        self.prompt = config.soft_prompt(model, new)
        saved = modules_to_save(model, config)
        if new:
            check_tied(model, saved)
            check_head(model, config, saved)
        if saved and hasattr(config, "modules_to_save"):
            config = replace(config, modules_to_save=sorted(saved))
        self.config, self.base_model = config, model
        self.attached = self.merged = False
        self.tied = tied_to(model, targets)
        self.shared = config.shared(targets) if targets else None
        self.replacements = self.adapt(targets)
        self.replacements |= saved_modules(model, saved, together=new)
        self.replacements |= trained_parameters(model, config, targets, saved)
        self.check_not_meta()
        for _, parameter in self.named_parameters():
            parameter.requires_grad_(not config.inference_mode)

    def check_not_meta(self) -> None:
        """Raise ValueError for parameters on the device meta, unless all of the base is on it.

        A base that is all on meta can be counted.
        """
        missing = next((path for path, held in self.named_parameters() if held.is_meta), None)
        hooked = any(hasattr(module, "_hf_hook") for module in self.base_model.modules())
        if missing and (hooked or not all(p.is_meta for p in self.base_model.parameters())):
            raise ValueError(
                f"{missing} would lie on the device 'meta', where the layer under it is: its "
                "weight is offloaded or was never loaded; load the whole base onto a device first"
            )

    def adapt(self, targets: dict[str, nn.Module]) -> dict[str, Replacement]:
        """An AdaptedLinear for each target for which the method has a tuner."""
        sites, replacements = places(self.base_model), {}
        for path, layer in targets.items():
            tuner = self.config.tuner(path, layer)
            if tuner is not None:
                if self.shared is not None:
                    tuner.shared = self.shared
                replacements[path] = Replacement(
                    sites[id(layer)], layer, AdaptedLinear(layer, tuner)
                )
        return replacements

    def attach(self) -> None:
        for replacement in self.replacements.values():
            replacement.put(replacement.new)
        self.attached = True
        if self.prompt is not None:
            self.prompt.attach(self.base_model)

    def detach(self) -> None:
        self.adopt()
        for replacement in self.replacements.values():
            replacement.check_detachable()
        for replacement in self.replacements.values():
            replacement.put(replacement.base)
        self.attached = False
        if self.prompt is not None:
            self.prompt.detach(self.base_model)

    def adopt(self) -> None:
        """Hold the modules that the user has set in place of trained ones."""
        if self.attached:
            for path, replacement in self.replacements.items():
                replacement.adopt(path)

    @property
    def layers(self) -> dict[str, AdaptedLinear]:
        """The adapted layers by dotted name."""
        new = {path: replacement.new for path, replacement in self.replacements.items()}
        return {path: layer for path, layer in new.items() if isinstance(layer, AdaptedLinear)}

    @property
    def tuners(self) -> dict[str, Tuner]:
        """The tuner of each adapted layer, by dotted name."""
        return {path: layer.tuner for path, layer in self.layers.items()}

    @property
    def is_low_rank(self) -> bool:
        """Whether low-rank updates of linear layers are all that the adapter holds."""
        only_layers = self.prompt is None and len(self.layers) == len(self.replacements)
        return only_layers and all(tuner.is_low_rank for tuner in self.tuners.values())

    def penalty(self) -> Tensor | float:
        """What the method adds to the loss; 0.0 where it adds nothing."""
        return self.config.penalty(self.tuners)

    def merge(self, requantize: bool = False, safe: bool = False) -> dict[str, float]:
        """Merge every layer; the largest rounding error of W' by layer.

        Raises NotMergeable, and ValueError where a weight is tied and, with `safe`, where W' would
        hold NaN or inf; nothing has changed then.
        """
        self.adopt()
        if self.prompt is not None:
            raise NotMergeable(f"{self.config.peft_type} can't be merged: {self.prompt.why_apart}")
        for path, other in self.tied.items():
            raise ValueError(
                f"{path} shares its weight with {other}: merging would change both, or untie them. "
                "Keep the adapter unmerged, or first give the layer a weight of its own and set "
                "the model's tie_word_embeddings to False"
            )
        merged = {}
        for path, layer in self.layers.items():
            try:
                merged[path] = layer.merged_twin(requantize, safe)
            except ValueError as error:
                raise ValueError(f"{path}: {error}; nothing was merged") from error
        for path, (twin, _) in merged.items():  # nothing can fail any more
            self.layers[path].put_twin(twin)
        self.merged = True
        return {path: error for path, (_, error) in merged.items()}

    def unmerge(self) -> None:
        """Put every W0 back."""
        for layer in self.layers.values():
            layer.unmerge()
        self.merged = False

    def finalize_merge(self) -> None:
        """Make a merge final: the base has its own layers again, which hold W'."""
        for path, layer in self.layers.items():
            self.replacements[path].put(layer.finalize_merge())
        self.merged = False

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The adapter's parameters, trained or frozen, by their place in the base."""
        for path, replacement in self.replacements.items():
            yield from replacement.named_parameters(path)
        if self.prompt is not None:
            yield from self.prompt.named_parameters()

    def count(self) -> tuple[int, int]:
        """(trained, added to the base): a bias is trained in its place, so it adds nothing."""
        held = {id(parameter): parameter for _, parameter in self.named_parameters()}.values()
        trained = sum(parameter.numel() for parameter in held if parameter.requires_grad)
        bases = {
            id(replacement.base): replacement.base for replacement in self.replacements.values()
        }.values()
        in_place = sum(base.numel() for base in bases if isinstance(base, nn.Parameter))
        return trained, sum(parameter.numel() for parameter in held) - in_place

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors of the adapter's file. Buffers of saved modules are among them.

        A target's bias is called `<path>.base_layer.bias` there, as in peft.
        """
        self.adopt()
        tensors: dict[str, Tensor] = {}
        for path, replacement in self.replacements.items():
            place = self.config.file_prefix + path
            if isinstance(replacement.new, AdaptedLinear):
                learned = replacement.new.tuner.file_tensors()
                tensors |= {f"{place}.{name}": tensor for name, tensor in learned.items()}
            elif isinstance(replacement.new, nn.Module):
                tensors |= replacement.new.state_dict(prefix=f"{place}.")
            else:
                owner, _, name = path.rpartition(".")
                inside = f"{owner}.base_layer.{name}" if owner in self.replacements else path
                tensors[self.config.file_prefix + inside] = replacement.live().detach()
        if self.shared is not None:
            tensors |= self.shared.state_dict(prefix="base_model.")
        return tensors | (self.prompt.file_tensors() if self.prompt is not None else {})

    def apply_out_of_tree(self, function: Callable[[Tensor], Tensor]) -> None:
        """Apply `.to`, `.half` and the like to the modules that are not in the model's tree."""
        for replacement in self.replacements.values():
            for thing in (replacement.base, replacement.new):
                if isinstance(thing, AdaptedLinear):
                    thing.tuner._apply(function)
                elif isinstance(thing, nn.Module):
                    thing._apply(function)
                else:
                    thing.data = function(thing.data)
        if self.prompt is not None:
            self.prompt._apply(function)


def layers_for(
    model: nn.Module, config: LayerConfig, new: bool
) -> tuple[LayerConfig, dict[str, nn.Module]]:
    """The layers that a config means by dotted name, and the config with them written out.

    new: a new adapter must fit every layer; a file may name what this model lacks.
    """
    asked = config
    if str(config.target_modules).lower() == "all-linear":
        config = replace(config, target_modules=expand_all_linear(model, config))
    if not new:
        config = without_unmatched_names(model, config)
    check_names(model, config)
    layers = find_targets(model, config)
    check_targets(model, config, layers)
    if new:
        check_all_used(asked, layers)
    stored_as_in_out = any(is_conv1d(layer) for layer in layers.values())
    config = replace(config, fan_in_fan_out=stored_as_in_out)
    return (config.checked_against(layers) if new else config), layers
