"""PeftModel: a frozen base that carries adapters by name, one of them active.

Add, switch, disable, mix, merge, count, save and load; the names are those of Hugging Face peft.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from minipeft.core.adapted import AdaptedLinear
from minipeft.core.adapter import Adapter
from minipeft.core.checkpointing import give_input_gradients
from minipeft.core.config import PeftConfig
from minipeft.core.errors import nearest
from minipeft.core.files import check_name, read_adapter, save_adapters
from minipeft.several.layout import check_names, check_sample_after_sample
from minipeft.several.mixed import BASE, Mixture
from minipeft.several.state import PREFIX, active_in, load_adapters, state_of_adapters
from minipeft.several.weighted import weighted_sum


def get_peft_model(
    model: nn.Module, peft_config: PeftConfig, adapter_name: str = "default"
) -> "PeftModel":
    """Freeze `model` and attach a new adapter to it. Named and used as in Hugging Face peft.

    Raises TypeError or ValueError for what doesn't fit; the model is then as it was.
    """
    return PeftModel(model, peft_config, adapter_name)


class PeftModel(nn.Module):
    """The base, adapted in place, and its adapters.

    base_model: the user's own model; unknown attributes are looked up there.
    adapters: each by name; `parameters()` holds the base's and those of the active one.
    active_adapter: the name of the active one. tensors: of a file, in place of a fresh start.
    """

    _mixture: Mixture | None = None  # of the adapters last mixed
    _probed: frozenset[str] = frozenset()  # layers that were asked how they read a batch,
    _in_blocks: frozenset[str] = frozenset()  # and those known to read it sample after sample

    def __init__(
        self,
        model: nn.Module,
        peft_config: PeftConfig,
        adapter_name: str = "default",
        tensors: dict[str, Tensor] | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
        if any(isinstance(module, PeftModel | AdaptedLinear) for module in model.modules()):
            raise ValueError("this model carries an adapter already; use add_adapter, or unload()")
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            raise ValueError(
                f"model is a {type(model).__name__}, which must hold the adapter, too: attach it "
                "to model.module, then wrap what get_peft_model gives"
            )
        check_name(adapter_name)
        adapter = Adapter(model, peft_config, tensors)
        super().__init__()
        self.base_model = model
        self.adapters = {adapter_name: adapter}
        self.active_adapter = adapter_name
        named = model.named_parameters(remove_duplicate=False)  # tied ones under each name
        self._trained_before = {name for name, parameter in named if parameter.requires_grad}
        model.requires_grad_(False)
        adapter.attach()
        self.attached = True
        self._unloaded = False  # for good: not while it is disabled
        self._input_hooks = give_input_gradients(model)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in ("base_model", "adapters"):  # not made yet: while unpickling
                raise
            return getattr(self.base_model, name)

    def get_base_model(self) -> nn.Module:
        return self.base_model

    @property
    def peft_config(self) -> dict[str, PeftConfig]:
        return {name: adapter.config for name, adapter in self.adapters.items()}

    def add_adapter(
        self,
        adapter_name: str,
        peft_config: PeftConfig,
        tensors: dict[str, Tensor] | None = None,
    ) -> None:
        """Make one more adapter, not in force yet. Raises ValueError if it's there."""
        check_name(adapter_name)
        if adapter_name in self.adapters:
            raise ValueError(f"there is an adapter {adapter_name!r} already; choose another name")
        with (
            self.disable_adapter()
        ):  # copies are made of the base's modules, not of another adapter's
            adapter = Adapter(self.base_model, peft_config, tensors)
        self.adapters[adapter_name] = adapter

    def set_adapter(self, adapter_name: str) -> None:
        """Put another adapter in force: references move, no tensor and no requires_grad does.

        Raises ValueError for an unknown name. A merged adapter is unmerged first, with a warning.
        """
        adapter = self._adapter(adapter_name)
        if self.merged:
            warnings.warn("the adapter in force is merged: unmerging it first", stacklevel=2)
            self.unmerge_adapter()
        if self.attached:  # not while it is disabled: then this is for later
            self._active.detach()
            adapter.attach()
        self.active_adapter = adapter_name

    def delete_adapter(self, adapter_name: str) -> None:
        """Forget an adapter that isn't in force. Raises ValueError otherwise."""
        self._adapter(adapter_name)
        if adapter_name == self.active_adapter:
            others = [name for name in self.adapters if name != adapter_name]
            other = ", ".join(others) or "there is none: unload() takes it off"
            raise ValueError(
                f"adapter {adapter_name!r} is in force; first set_adapter to ({other})"
            )
        del self.adapters[adapter_name]

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Within the block the model is the base, bit for bit. Blocks may be nested."""
        if not self.attached:
            yield
            return
        self._active.detach()  # a merged layer keeps W' and W0 meanwhile: the base's own holds W0
        self.attached = False
        try:
            yield
        finally:
            if not self._unloaded:
                self._active.attach()
                self.attached = True

    def _adapter(self, name: str) -> Adapter:
        if name not in self.adapters:
            raise ValueError(f"there is no adapter {name!r}; {nearest(name, self.adapters)}")
        return self.adapters[name]

    @property
    def _active(self) -> Adapter:
        return self.adapters[self.active_adapter]

    @property
    def merged(self) -> bool:
        return self._active.merged

    def forward(self, *inputs: Any, adapter_names: list[str] | None = None, **options: Any) -> Any:
        """The adapted model; sample i through its own adapter where `adapter_names` is given.

        A `loss` that the model itself works out is what to minimize: with the method's penalty.
        """
        with self.mixed(adapter_names, inputs, options):
            answer = self.base_model(*inputs, **options)
        if isinstance(getattr(answer, "loss", None), Tensor) and self.attached:
            answer.loss = answer.loss + self.penalty()
        return answer

    def generate(self, *inputs: Any, adapter_names: list[str] | None = None, **options: Any) -> Any:
        """The base's own generate, with the adapter in force or one for each sample."""
        if self._active.prompt is not None and self.attached:
            self._active.prompt.check_generation(self.base_model, options)
        with self.mixed(adapter_names, inputs, options):
            return self.base_model.generate(*inputs, **options)

    @contextmanager
    def mixed(
        self, adapter_names: list[str] | None, inputs: tuple, options: dict[str, Any]
    ) -> Iterator[None]:
        """Within the block sample i of a batch goes through `adapter_names[i]`.

        "__base__" is the bare base; None changes nothing. inputs, options: of the call. Raises
        ValueError for an unknown or unfit adapter, for a number of names that is not that of the
        samples, and for layers whose rows are not sample after sample; RuntimeError while
        training, merged or disabled.
        """
        if adapter_names is None:
            yield
            return
        if self.base_model.training or self.merged or not self.attached:
            raise RuntimeError(
                "adapter_names is for eval() mode with the adapters attached and none merged"
            )
        check_names(self.base_model, adapter_names, inputs, options)
        if self._mixture is None or self._mixture.outdated(self.adapters, adapter_names):
            used = {name: self._adapter(name) for name in adapter_names if name != BASE}
            self._mixture = Mixture(used)
        with self.disable_adapter():
            unknown = self._mixture.unknown_layout(self._probed)
            if unknown and len(adapter_names) > 1:
                reached = check_sample_after_sample(self.base_model, unknown, inputs, options)
                self._in_blocks, self._probed = self._in_blocks | reached, self._probed | {*unknown}
            with self._mixture.standing(adapter_names, self._in_blocks):
                yield

    def add_weighted_adapter(
        self, adapters: list[str], weights: list[float], adapter_name: str, **options: Any
    ) -> None:
        """Make one more adapter of a weighted sum of LoRA adapters; options as `weighted_sum`."""
        chosen = {name: self._adapter(name) for name in adapters}
        self.add_adapter(adapter_name, *weighted_sum(chosen, weights, **options))

    def penalty(self) -> Tensor | float:
        """What the method in force adds to the loss: AdaLoRA's and diff pruning's regularizer.

        For a loss of your own; in the `loss` that a model gives back it is already.
        """
        return self._active.penalty()

    def update_and_allocate(self, global_step: int) -> None:
        """What the method does after each optimizer step, counted from 1: AdaLoRA moves ranks."""
        self._active.config.after_step(self._active.tuners, global_step)

    def merge_adapter(self, safe_merge: bool = False, requantize: bool = False) -> dict[str, float]:
        """Put W' in place of W0 in every adapted layer, W0 being kept aside for `unmerge_adapter`.

        W' over a 4-bit base has 16 bits, or with `requantize` 4 again, as in peft. Returns the
        largest rounding error of W' by layer: 0 in 32 bits, not in 16 or 4. Raises
        RuntimeError when merged already, NotMergeable where the method has no W', and with
        `safe_merge` ValueError for a W' with NaN or inf; nothing has changed then.
        """
        name = repr(self.active_adapter)
        if not self.attached:
            raise RuntimeError(
                f"adapter {name} is not attached: it is disabled, or unload() or "
                "merge_and_unload() took it off; get_peft_model() attaches a new one"
            )
        if self.merged:
            raise RuntimeError(
                f"adapter {name} is merged already: a second merge would add its update twice; "
                "call unmerge_adapter() first"
            )
        if safe_merge and (path := self._active.unsafe_layer()):
            raise ValueError(f"merging {name} would put NaN or inf into {path}: nothing was merged")
        return self._active.merge(requantize)

    def unmerge_adapter(self) -> None:
        """Put every W0 back, exactly. Raises RuntimeError when not merged."""
        if not self.merged:
            raise RuntimeError(
                f"{self.active_adapter!r} is not merged; merge_adapter() comes first"
            )
        self._active.unmerge()

    def merge_and_unload(self, safe_merge: bool = False, requantize: bool = False) -> nn.Module:
        """Merge for good and give back the base's own modules, without a trace of an adapter."""
        if not self.merged:
            self.merge_adapter(safe_merge, requantize)
        self._active.finalize_merge()
        return self._released()

    def unload(self) -> nn.Module:
        """Take the adapter off and give the untouched base back."""
        if self.merged:
            self.unmerge_adapter()
        if self.attached:
            self._active.detach()
        return self._released()

    def _released(self) -> nn.Module:
        self.attached, self._unloaded = False, True
        for hook in self._input_hooks:
            hook.remove()
        for name, parameter in self.base_model.named_parameters():
            parameter.requires_grad_(name in self._trained_before)
        return self.base_model

    def _out_of_tree(self) -> dict[str, Adapter]:
        """The adapters whose tensors the model's tree doesn't hold just now."""
        return {
            name: adapter
            for name, adapter in self.adapters.items()
            if name != self.active_adapter or not self.attached
        }

    def _save_to_state_dict(
        self, destination: dict[str, Tensor], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update(state_of_adapters(self._out_of_tree(), prefix))

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """As in nn.Module; the adapter that was in force in `state_dict` is so again.

        Raises RuntimeError for a state that holds other adapters, or nothing of this model's.
        """
        if state_dict and not state_dict.keys() & self.state_dict().keys():
            raise RuntimeError(
                f"nothing of this model is in the state: it has {next(iter(state_dict))!r}, where "
                f"{next(iter(self.state_dict()))!r} and the like belong; an adapter's file is "
                "read by load_adapter or from_pretrained"
            )
        return super().load_state_dict(state_dict, *args, **options)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: Any) -> None:
        active = active_in(state, prefix, self.adapters)
        if self.attached and active not in (None, self.active_adapter):
            self.set_adapter(active)
        load_adapters(self._out_of_tree(), state, prefix)
        own = {key: state[key] for key in state if not key.startswith(prefix + PREFIX)}
        super()._load_from_state_dict(own, prefix, *args)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for adapter in self.adapters.values():
            adapter.apply_out_of_tree(fn)
        return self

    def save_pretrained(
        self,
        save_directory: str | Path,
        selected_adapters: list[str] | None = None,
        path_initial_model_for_weight_conversion: str | Path | None = None,
    ) -> None:
        """Write adapters in peft's layout: "default" into the folder, others into subfolders.

        path_initial_model_for_weight_conversion: not None writes a PiSSA adapter as a plain LoRA of
        twice its rank, which fits the base itself. peft finds A0 and B0 in the folder of this name;
        here they are at hand, and nothing is read.

        Raises ValueError for an unknown name, OSError where writing fails (old files stay whole).
        """
        names = list(self.adapters) if selected_adapters is None else selected_adapters
        adapters = {name: self._adapter(name) for name in names}
        if path_initial_model_for_weight_conversion is not None:
            with self.disable_adapter():
                adapters = {
                    name: Adapter(self.base_model, *weighted_sum({name: adapter}, [1.0], "cat"))
                    for name, adapter in adapters.items()
                }
        save_adapters(adapters, save_directory)

    def load_adapter(
        self, model_id: str | Path, adapter_name: str, is_trainable: bool = False
    ) -> None:
        """Read a folder as one more adapter, frozen unless `is_trainable`; it isn't put in force.

        Raises FileNotFoundError and ValueError as core/files.py says; the model is then as it was.
        """
        self.add_adapter(adapter_name, *read_adapter(model_id, is_trainable))
        if not is_trainable:
            self.eval()  # as peft: no dropout in an adapter that is only used

    @classmethod
    def from_pretrained(
        cls,
        model: nn.Module,
        model_id: str | Path,
        adapter_name: str = "default",
        is_trainable: bool = False,
    ) -> Self:
        """A base with the adapter of a folder in force. Raises as `load_adapter`."""
        config, tensors = read_adapter(model_id, is_trainable)
        peft_model = cls(model, config, adapter_name, tensors)
        return peft_model if is_trainable else peft_model.eval()

    def get_nb_trainable_parameters(self) -> tuple[int, int]:
        """(trained, all), where all is base + adapter in force, as peft counts one."""
        trained, added = self._active.count()
        with self.disable_adapter():
            base = sum(parameter.numel() for parameter in self.base_model.parameters())
        return trained, base + added

    def print_trainable_parameters(self) -> None:
        """Print peft's line: trainable params, all params, and their ratio in percent."""
        trained, total = self.get_nb_trainable_parameters()
        share = f"{100 * trained / total:.4f}"
        print(f"trainable params: {trained:,d} || all params: {total:,d} || trainable%: {share}")
