"""PeftModel: a frozen base that carries adapters by name, one of them active.

Add, switch, disable, mix, merge, count, save and load; the names are those of Hugging Face peft.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from minipeft.core.adapted import AdaptedLinear
from minipeft.core.adapter import Adapter
from minipeft.core.config import PeftConfig
from minipeft.core.errors import nearest
from minipeft.core.linear import packed_away
from minipeft.core.sharded import gathered, place_of, reshard, whole
from minipeft.interop.checkpointing import give_input_gradients
from minipeft.interop.files import check_name, read_adapter, read_tensors, save_adapters
from minipeft.interop.hugging_face import (
    BaseModel,
    LoadResult,
    check_keywords,
    check_present,
    enter_trainer,
)
from minipeft.interop.state import PREFIX, active_in, load_adapters, state_of_adapters
from minipeft.quant.checkpoint_note import note_quantization
from minipeft.several.layout import check_names, check_sample_after_sample
from minipeft.several.mixed import BASE, Mixture
from minipeft.several.weighted import weighted_sum


def get_peft_model(
    model: nn.Module, peft_config: PeftConfig, adapter_name: str = "default", **options: Any
) -> "PeftModel":
    """Freeze `model` and attach a new adapter to it. Named and used as in Hugging Face peft.

    options: more keywords of peft, which change nothing; see interop/hugging_face.py.
    Raises TypeError or ValueError for what doesn't fit; the model is then as it was.
    """
    check_keywords("get_peft_model", options, base=model)
    return PeftModel(model, peft_config, adapter_name)


class PeftModel(nn.Module):
    """The base, adapted in place, and its adapters.

    base_model: the user's own model; unknown attributes are looked up there, but not names that
        peft's class has and this one hasn't. `base_model.model` is the user's model as well.
    adapters: each by name; `parameters()` holds the base's and those of the active one.
    active_adapter: the name of the active one, None once the last one was deleted.
    tensors: of a file, in place of a fresh start.
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
            if name == "adapters" or "_modules" not in vars(self):  # not made yet: while unpickling
                raise
            enter_trainer(PeftModel)
            check_present(name, self.get_base_model())
            return getattr(self.get_base_model(), name)

    @property
    def base_model(self) -> nn.Module:
        return BaseModel(self.get_base_model())

    def get_base_model(self) -> nn.Module:
        return self._modules["base_model"]

    def get_submodule(self, target: str) -> nn.Module:
        """The module of this name in `named_modules()`, where `base_model` is the base itself."""
        first, _, rest = target.partition(".")
        if first == "base_model":
            return self.get_base_model().get_submodule(rest)
        return super().get_submodule(target)

    @property
    def peft_config(self) -> dict[str, PeftConfig]:
        return {name: adapter.config for name, adapter in self.adapters.items()}

    @property
    def active_adapters(self) -> list[str]:
        """The active adapter's name in a list, as in peft; an empty one where none is left."""
        return [] if self.active_adapter is None else [self.active_adapter]

    @property
    def active_peft_config(self) -> PeftConfig:
        """The active adapter's config."""
        return self._adapter(self.active_adapter).config

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
        with self.disable_adapter():  # the copies are of the base's modules, not of an adapter's
            adapter = Adapter(self.get_base_model(), peft_config, tensors)
        self.adapters[adapter_name] = adapter

    def set_adapter(self, adapter_name: str) -> None:
        """Put another adapter in force: references move, no tensor and no requires_grad does.

        Raises ValueError for an unknown name. A merged adapter is unmerged first, with a warning.
        """
        self._adapter(adapter_name)
        if self.merged:
            warnings.warn("the adapter in force is merged: unmerging it first", stacklevel=2)
            self.unmerge_adapter()
        self._put_in_force(adapter_name)

    def _put_in_force(self, adapter_name: str | None) -> None:
        """Attach this adapter in place of the active one; None leaves the bare base."""
        if self.attached:  # not while it is disabled: then this is for later
            if self._active is not None:
                self._active.detach()
            if adapter_name is not None:
                self.adapters[adapter_name].attach()
        self.active_adapter = adapter_name

    def delete_adapter(self, adapter_name: str) -> None:
        """Forget an adapter. After the active one the first of the others is active, as in peft.

        After the last one the model is the base, until set_adapter. Raises ValueError for an
        unknown name, RuntimeError for an adapter that is merged.
        """
        self._check_unmerged(adapter_name)
        if adapter_name == self.active_adapter:
            other = next((name for name in self.adapters if name != adapter_name), None)
            if other is not None:
                warnings.warn(
                    f"Adapter {adapter_name} was active which is now deleted. Setting active "
                    f"adapter to {other}.",
                    stacklevel=2,
                )
            self._put_in_force(other)
        del self.adapters[adapter_name]

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Within the block the model is the base, bit for bit. Blocks may be nested."""
        if not self.attached or self._active is None:
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
    def _active(self) -> Adapter | None:
        return None if self.active_adapter is None else self.adapters[self.active_adapter]

    @property
    def merged(self) -> bool:
        return self._active is not None and self._active.merged

    def forward(self, *inputs: Any, adapter_names: list[str] | None = None, **options: Any) -> Any:
        """The adapted model; sample i through its own adapter where `adapter_names` is given.

        A `loss` that the model itself works out is what to minimize: with the method's penalty.
        """
        with self.mixed(adapter_names, inputs, options):
            answer = self.get_base_model()(*inputs, **options)
        if isinstance(getattr(answer, "loss", None), Tensor) and self.attached:
            answer.loss = answer.loss + self.penalty()
        return answer

    def generate(self, *inputs: Any, adapter_names: list[str] | None = None, **options: Any) -> Any:
        """The base's own generate, with the adapter in force or one for each sample."""
        if self.attached and self._active is not None and self._active.prompt is not None:
            self._active.prompt.check_generation(self.get_base_model(), options)
        with self.mixed(adapter_names, inputs, options):
            return self.get_base_model().generate(*inputs, **options)

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
        if self.get_base_model().training or self.merged or not self.attached:
            raise RuntimeError(
                "adapter_names is for eval() mode with the adapters attached and none merged"
            )
        check_names(self.get_base_model(), adapter_names, inputs, options)
        if self._mixture is None or self._mixture.outdated(self.adapters, adapter_names):
            used = {name: self._adapter(name) for name in adapter_names if name != BASE}
            self._mixture = Mixture(used)
        with self.disable_adapter():
            unknown = self._mixture.unknown_layout(self._probed)
            if unknown and len(adapter_names) > 1:
                reached = check_sample_after_sample(self.get_base_model(), unknown, inputs, options)
                self._in_blocks, self._probed = self._in_blocks | reached, self._probed | {*unknown}
            with self._mixture.standing(adapter_names, self._in_blocks):
                yield

    def add_weighted_adapter(
        self, adapters: list[str], weights: list[float], adapter_name: str, **options: Any
    ) -> None:
        """Add a weighted sum of low-rank adapters as one more; options as `weighted_sum`."""
        chosen = {name: self._adapter(name) for name in adapters}
        self.add_adapter(adapter_name, *weighted_sum(chosen, weights, **options))

    def penalty(self) -> Tensor | float:
        """What the method in force adds to the loss: a regularizer.

        For a loss of your own; in the `loss` that a model gives back it is already.
        """
        return 0.0 if self._active is None else self._active.penalty()

    def update_and_allocate(self, global_step: int) -> None:
        """What the method does after each optimizer step, counted from 1: it may move ranks."""
        active = self._adapter(self.active_adapter)
        active.config.after_step(active.tuners, global_step)

    def merge_adapter(self, safe_merge: bool = False, requantize: bool = False) -> dict[str, float]:
        """Put W' in place of W0 in every adapted layer, W0 being kept aside for `unmerge_adapter`.

        W' over a 4-bit base has 16 bits, or with `requantize` 4 again, as in peft. Returns the
        largest rounding error of W' by layer: 0 in 32 bits, not in 16 or 4. Raises
        RuntimeError when merged already, NotMergeable where the method has no W', and with
        `safe_merge` ValueError for a W' with NaN or inf; nothing has changed then.
        """
        name = repr(self.active_adapter)
        if not self.attached or self._active is None:
            raise RuntimeError(
                f"adapter {name} is not attached: it is disabled, or unload() or "
                "merge_and_unload() took it off; get_peft_model() attaches a new one"
            )
        if self.merged:
            raise RuntimeError(
                f"adapter {name} is merged already: a second merge would add its update twice; "
                "call unmerge_adapter() first"
            )
        with gathered(self, self._active.layers.values()):
            return self._active.merge(requantize, safe_merge)

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
        with gathered(self, self._active.layers.values()):
            self._active.finalize_merge()
        note_quantization(self.get_base_model())
        return self._released()

    def unload(self) -> nn.Module:
        """Take the adapter off and give the untouched base back."""
        if self.merged:
            self.unmerge_adapter()
        if self.attached and self._active is not None:
            self._active.detach()
        return self._released()

    def _released(self) -> nn.Module:
        self.attached, self._unloaded = False, True
        for hook in self._input_hooks:
            hook.remove()
        for name, parameter in self.get_base_model().named_parameters():
            parameter.requires_grad_(name in self._trained_before)
        return self.get_base_model()

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
        safe_serialization: bool = True,
        selected_adapters: list[str] | None = None,
        is_main_process: bool = True,
        path_initial_model_for_weight_conversion: str | Path | None = None,
        state_dict: dict[str, Tensor] | None = None,
        **options: Any,
    ) -> None:
        """Write adapters in peft's layout: "default" into the folder, others into subfolders.

        is_main_process: False writes nothing, for all processes but one of several; tensors that
            FSDP2 spread over processes are put together again, so all of them must call.
        path_initial_model_for_weight_conversion: not None writes what is added to the base as A
        and B. An adapter that starts from the base's singular vectors then has twice its rank.
        peft reads where it started from the folder of this name; here nothing is read.
        state_dict: the model's own, to take the values from in place of the model's present ones.
        options: more keywords of peft's, which change nothing.

        Raises ValueError for an unknown name, OSError where writing fails (old files stay whole).
        """
        options["safe_serialization"] = safe_serialization
        check_keywords("save_pretrained", options)
        names = list(self.adapters) if selected_adapters is None else selected_adapters
        adapters = {name: self._adapter(name) for name in names}
        if path_initial_model_for_weight_conversion is not None:
            with self.disable_adapter():
                adapters = {
                    name: Adapter(
                        self.get_base_model(), *weighted_sum({name: adapter}, [1.0], "cat")
                    )
                    for name, adapter in adapters.items()
                }
        tensors = {
            name: self.file_tensors(name, state_dict)
            if adapter is self.adapters.get(name)
            else adapter.state_dict()
            for name, adapter in adapters.items()
        }
        if is_main_process:
            save_adapters(adapters, save_directory, tensors)

    def file_tensors(
        self, adapter_name: str, state_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """What an adapter's file holds, whole; the values from the model's `state_dict` if given.

        Raises ValueError for an unknown name, or a state_dict that lacks a tensor of the adapter.
        """
        reshard(self)
        tensors = self._adapter(adapter_name).state_dict()
        if state_dict is not None:
            places = {place_of(tensor): name for name, tensor in self.state_dict().items()}
            for name, tensor in tensors.items():
                own = places.get(place_of(tensor), name)
                if own not in state_dict:
                    raise ValueError(f"state_dict lacks {own!r}; {nearest(own, state_dict)}")
                tensors[name] = state_dict[own]
        return {name: whole(tensor) for name, tensor in tensors.items()}

    def load_tensors(self, adapter_name: str, tensors: dict[str, Tensor]) -> None:
        """Copy what a file holds into an adapter. Raises ValueError unless all of it fits."""
        self._check_unmerged(adapter_name)
        reshard(self)
        self.adapters[adapter_name].load_state_dict(tensors)

    def _check_unmerged(self, adapter_name: str) -> None:
        if self._adapter(adapter_name).merged:
            raise RuntimeError(f"adapter {adapter_name!r} is merged: unmerge_adapter() first")

    def load_adapter(
        self,
        model_id: str | Path,
        adapter_name: str,
        is_trainable: bool = False,
        **options: Any,
    ) -> LoadResult:
        """Read a folder as one more adapter, frozen unless `is_trainable`; it isn't put in force.

        An adapter of this name is replaced by the file's; in place where both compute the same, so
        that its optimizer can go on. subfolder: of the folder. options: more keywords of peft's,
        which change nothing.

        Raises FileNotFoundError and ValueError as read_adapter; the model is then as it was.
        """
        base = self.get_base_model()
        check_keywords("load_adapter", options, ["subfolder"], base)
        config, tensors = read_adapter(Path(model_id, options.get("subfolder") or ""), is_trainable)
        if adapter_name in self.adapters:
            self._replace(adapter_name, config, tensors)
        else:
            self.add_adapter(adapter_name, config, tensors)
        if not is_trainable:
            self.eval()  # as peft: no dropout in an adapter that is only used
        return LoadResult([], [])

    def _replace(self, name: str, config: PeftConfig, tensors: dict[str, Tensor]) -> None:
        """Give an adapter what a file holds. Raises as `load_tensors`."""
        self._check_unmerged(name)
        old = self.adapters[name]
        config = replace(config, inference_mode=old.config.inference_mode)
        with self.disable_adapter():
            new = Adapter(self.get_base_model(), config, tensors)
        if old.computes_as(new):
            self.load_tensors(name, tensors)
            return
        active = self.active_adapter
        if name == active:
            self._put_in_force(None)
        self.adapters[name] = new
        if name == active:
            self._put_in_force(name)

    @classmethod
    def from_pretrained(
        cls,
        model: nn.Module,
        model_id: str | Path,
        adapter_name: str = "default",
        is_trainable: bool = False,
        config: PeftConfig | None = None,
        **options: Any,
    ) -> Self:
        """A base with the adapter of a folder in force. Raises as `load_adapter`.

        config: in place of the one in the folder.
        """
        check_keywords("from_pretrained", options, ["subfolder"], model)
        folder = Path(model_id, options.get("subfolder") or "")
        if config is None:
            config, tensors = read_adapter(folder, is_trainable)
        else:
            config, tensors = replace(config, inference_mode=not is_trainable), read_tensors(folder)
        peft_model = cls(model, config, adapter_name, tensors)
        return peft_model if is_trainable else peft_model.eval()

    def get_nb_trainable_parameters(self) -> tuple[int, int]:
        """(trained, all), where all is base + adapter in force, as peft counts one."""
        trained, added = (0, 0) if self._active is None else self._active.count()
        with self.disable_adapter():
            base = self.get_base_model()
            counted = sum(parameter.numel() for parameter in base.parameters())
        return trained, counted + packed_away(base) + added

    def print_trainable_parameters(self) -> None:
        """Print peft's line: trainable params, all params, and their ratio in percent."""
        trained, total = self.get_nb_trainable_parameters()
        share = f"{100 * trained / total:.4f}"
        print(f"trainable params: {trained:,d} || all params: {total:,d} || trainable%: {share}")
