"""PeftModel: a frozen base and its adapters by name, one of which is active.

Attach, switch, disable, mix, merge, count; the names are those of Hugging Face peft. Saving and
loading, which PeftModel inherits, are in interop/saving.py.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from torch import Tensor, nn

from minipeft.core.adapted import AdaptedLinear
from minipeft.core.adapter import Adapter
from minipeft.core.config import PeftConfig
from minipeft.core.errors import nearest
from minipeft.core.linear import packed_away
from minipeft.interop.checkpointing import give_input_gradients
from minipeft.interop.files import check_name
from minipeft.interop.hugging_face import BaseModel, check_keywords, check_present, enter_trainer
from minipeft.interop.loading import open_adapter
from minipeft.interop.saving import SavedModel
from minipeft.interop.sharded import gathered
from minipeft.methods.prompted_models import check_generation
from minipeft.quant.checkpoint_note import note_quantization
from minipeft.several.mixed import BASE, MixedBatches
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


class PeftModel(SavedModel):
    """The base, adapted in place, and its adapters.

    base_model: the user's own model, also as `base_model.model`. Attributes that PeftModel lacks
        are the base's, unless peft's class has one of that name.
    adapters: each by name. `parameters()` has those of the base and of the active adapter.
    active_adapter: the active one's name, None once the last adapter was deleted.
    tensors: those of a file, for an adapter that was trained before.
    """

    def __init__(
        self,
        model: nn.Module,
        peft_config: PeftConfig,
        adapter_name: str = "default",
        tensors: dict[str, Tensor] | None = None,
    ) -> None:
        check_base(model)
        check_name(adapter_name)
        adapter = open_adapter(model, peft_config, tensors)
        super().__init__()
        self.base_model = model
        self.adapters = {adapter_name: adapter}
        self.active_adapter = adapter_name
        named = model.named_parameters(remove_duplicate=False)  # tied ones under each name
        self._trained_before = {name for name, parameter in named if parameter.requires_grad}
        model.requires_grad_(False)
        adapter.attach()
        self.attached = True
        self._unloaded = False  # for good; a disabled adapter is only detached
        self._input_hooks = give_input_gradients(model)
        self._mixed_batches = MixedBatches()

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
    def active_peft_config(self) -> PeftConfig:
        """The active adapter's config."""
        return self._adapter(self.active_adapter).config

    @property
    def active_adapters(self) -> list[str]:
        """The active adapter's name in a list, as in peft; an empty one where none is left."""
        return [] if self.active_adapter is None else [self.active_adapter]

    @property
    def _active(self) -> Adapter | None:
        return None if self.active_adapter is None else self.adapters[self.active_adapter]

    @property
    def merged(self) -> bool:
        return self._active is not None and self._active.merged

    def _adapter(self, name: str) -> Adapter:
        if name not in self.adapters:
            raise ValueError(f"there is no adapter {name!r}; {nearest(name, self.adapters)}")
        return self.adapters[name]

    def _check_unmerged(self, adapter_name: str) -> None:
        if self._adapter(adapter_name).merged:
            raise RuntimeError(f"adapter {adapter_name!r} is merged: unmerge_adapter() first")

    def forward(self, *inputs: Any, adapter_names: list[str] | None = None, **options: Any) -> Any:
        """The adapted model; sample i through its own adapter where `adapter_names` is given.

        Where the model computes a `loss`, the method's penalty is added to it.
        """
        with self.mixed(adapter_names, inputs, options):
            answer = self.get_base_model()(*inputs, **options)
        if isinstance(getattr(answer, "loss", None), Tensor) and self.attached:
            answer.loss = answer.loss + self.penalty()
        return answer

    def generate(self, *inputs: Any, adapter_names: list[str] | None = None, **options: Any) -> Any:
        """The base's own generate, with the active adapter or one for each sample."""
        if self.attached and self._active is not None and self._active.prompt is not None:
            check_generation(self.get_base_model(), options)
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
        base = self.get_base_model()
        if base.training or self.merged or not self.attached:
            raise RuntimeError(
                "adapter_names is for eval() mode with the adapters attached and none merged"
            )
        used = {name: self._adapter(name) for name in adapter_names if name != BASE}
        batches = self._mixed_batches
        with self.disable_adapter(), batches.within(base, used, adapter_names, inputs, options):
            yield

    def add_adapter(
        self,
        adapter_name: str,
        peft_config: PeftConfig,
        tensors: dict[str, Tensor] | None = None,
    ) -> None:
        """Make one more adapter, which is not active yet. Raises ValueError for a name in use."""
        check_name(adapter_name)
        if adapter_name in self.adapters:
            raise ValueError(f"there is an adapter {adapter_name!r} already; choose another name")
        with self.disable_adapter():  # the copies are of the base's modules, not of an adapter's
            adapter = open_adapter(self.get_base_model(), peft_config, tensors)
        self.adapters[adapter_name] = adapter

    def add_weighted_adapter(
        self, adapters: list[str], weights: list[float], adapter_name: str, **options: Any
    ) -> None:
        """Add a weighted sum of low-rank adapters as one more; options as `weighted_sum`."""
        chosen = {name: self._adapter(name) for name in adapters}
        self.add_adapter(adapter_name, *weighted_sum(chosen, weights, **options))

    def set_adapter(self, adapter_name: str) -> None:
        """Make another adapter active: references move, no tensor and no requires_grad does.

        Raises ValueError for an unknown name. A merged adapter is unmerged first, with a warning.
        """
        self._adapter(adapter_name)
        if self.merged:
            warnings.warn("the active adapter is merged: unmerging it first", stacklevel=2)
            self.unmerge_adapter()
        self._activate(adapter_name)

    def _activate(self, adapter_name: str | None) -> None:
        """Attach this adapter in place of the active one; None leaves the bare base."""
        if self.attached:  # a disabled model attaches it at the end of the block
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
            self._activate(other)
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

    def penalty(self) -> Tensor | float:
        """What the active adapter's method adds to the loss: a regularizer.

        For a loss of your own; a `loss` that the model returns has it already.
        """
        return 0.0 if self._active is None else self._active.penalty()

    def update_and_allocate(self, global_step: int) -> None:
        """What the method does after each optimizer step, counted from 1, such as moving ranks."""
        active = self._adapter(self.active_adapter)
        active.config.after_step(active.tuners, global_step)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for adapter in self.adapters.values():
            adapter.apply_out_of_tree(fn)
        return self

    def get_nb_trainable_parameters(self) -> tuple[int, int]:
        """(trained, all), where all is the base and the active adapter, as peft counts one."""
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


def check_base(model: object) -> None:
    """Raise TypeError or ValueError for what is no bare model."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    if any(isinstance(module, PeftModel | AdaptedLinear) for module in model.modules()):
        raise ValueError("this model carries an adapter already; use add_adapter, or unload()")
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        raise ValueError(
            f"model is a {type(model).__name__}, which must hold the adapter, too: attach it to "
            "model.module, then wrap what get_peft_model gives"
        )
