"""A frozen base that carries adapters by name, one in force: add, switch, disable, merge, drop."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from torch import Tensor, nn

from minipeft.core.adapted import AdaptedLinear
from minipeft.core.adapter import Adapter
from minipeft.core.config import PeftConfig
from minipeft.core.errors import nearest
from minipeft.core.files import check_name


class Carrier(nn.Module):
    """The base, adapted in place, and its adapters.

    base_model: the user's own model; unknown attributes are looked up there.
    adapters: each by name; `parameters()` holds the base's and those of the one in force.
    active_adapter: the name of the one in force. tensors: of a file, in place of a fresh start.
    """

    def __init__(
        self,
        model: nn.Module,
        peft_config: PeftConfig,
        adapter_name: str = "default",
        tensors: dict[str, Tensor] | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
        if any(isinstance(module, Carrier | AdaptedLinear) for module in model.modules()):
            raise ValueError("this model carries an adapter already; use add_adapter, or unload()")
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
        with self.disable_adapter():  # its pieces are copies of the base's, not of another's
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
        merged = self.merged
        if merged:
            self.unmerge_adapter()
        self._active.detach()
        self.attached = False
        try:
            yield
        finally:
            self._active.attach()
            self.attached = True
            if merged:
                self.merge_adapter()

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
        self._active.settle()
        return self._released()

    def unload(self) -> nn.Module:
        """Take the adapter off and give the untouched base back."""
        if self.merged:
            self.unmerge_adapter()
        if self.attached:
            self._active.detach()
        return self._released()

    def _released(self) -> nn.Module:
        self.attached = False
        for name, parameter in self.base_model.named_parameters():
            parameter.requires_grad_(name in self._trained_before)
        return self.base_model

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for adapter in self.adapters.values():
            adapter.apply_out_of_tree(fn)
        return self
