"""The part of PeftModel that deals with files, and with the states that torch saves.

A state dict holds the base and the active adapter under their names in the tree, and every other
adapter under its own name (state.py). A file holds one adapter alone, in peft's layout (files.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from minipeft.core.adapter import Adapter
from minipeft.core.config import PeftConfig
from minipeft.core.errors import nearest
from minipeft.interop.files import read_adapter, read_tensors, save_adapters
from minipeft.interop.hugging_face import LoadResult, check_keywords
from minipeft.interop.loading import computes_alike, load_tensors, open_adapter
from minipeft.interop.sharded import place_of, reshard, whole
from minipeft.interop.state import PREFIX, active_in, load_adapters, state_of_adapters
from minipeft.several.weighted import weighted_sum


class SavedModel(nn.Module):
    """What a PeftModel inherits: save, load, state_dict. It has `adapters` and `active_adapter`."""

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

        is_main_process: False writes nothing, for all processes but one of several. All of them
            must call: they put the tensors that FSDP2 spread over them together.
        path_initial_model_for_weight_conversion: not None writes W' - W0 as A and B, of twice the
            rank where an adapter starts from the base's singular vectors. (peft reads the start
            from the folder of this name; here nothing is read.)
        state_dict: the model's, whose values are written in place of the present ones.
        options: more keywords of peft, which change nothing.

        Raises ValueError for an unknown name, OSError where writing fails (old files stay whole).
        """
        options["safe_serialization"] = safe_serialization
        check_keywords("save_pretrained", options)
        names = list(self.adapters) if selected_adapters is None else selected_adapters
        adapters = {name: self._adapter(name) for name in names}
        if path_initial_model_for_weight_conversion is None:
            tensors = {name: self.file_tensors(name, state_dict) for name in names}
        else:
            adapters = {name: self._as_low_rank(name) for name in names}
            tensors = {name: adapter.state_dict() for name, adapter in adapters.items()}
        if is_main_process:
            save_adapters(adapters, save_directory, tensors)

    def _as_low_rank(self, name: str) -> Adapter:
        """Plain LoRA with the W' of an adapter. Raises ValueError where that isn't low-rank."""
        config, tensors = weighted_sum({name: self._adapter(name)}, [1.0], "cat")
        with self.disable_adapter():
            return open_adapter(self.get_base_model(), config, tensors)

    def file_tensors(
        self, adapter_name: str, state_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The tensors of an adapter's file; their values from the model's `state_dict` if given.

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
        """Copy a file's tensors into an adapter. Raises ValueError unless all of them fit."""
        self._check_unmerged(adapter_name)
        reshard(self)
        load_tensors(self.adapters[adapter_name], tensors)

    def load_adapter(
        self,
        model_id: str | Path,
        adapter_name: str,
        is_trainable: bool = False,
        **options: Any,
    ) -> LoadResult:
        """Read a folder as one more adapter, frozen unless `is_trainable`, and not active yet.

        An adapter of this name is replaced by the file's. Where both compute the same, its tensors
        are: its optimizer can go on. subfolder: of the folder. options: more keywords of peft,
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
        """Replace an adapter by a file's. Raises as `load_tensors`."""
        self._check_unmerged(name)
        old = self.adapters[name]
        config = replace(config, inference_mode=old.config.inference_mode)
        with self.disable_adapter():
            new = open_adapter(self.get_base_model(), config, tensors)
        if computes_alike(old, new):
            self.load_tensors(name, tensors)
            return
        active = self.active_adapter
        if name == active:
            self._activate(None)
        self.adapters[name] = new
        if name == active:
            self._activate(name)

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
        """A base with a folder's adapter, which is active. Raises as `load_adapter`.

        config: in place of the folder's.
        """
        check_keywords("from_pretrained", options, ["subfolder"], model)
        folder = Path(model_id, options.get("subfolder") or "")
        if config is None:
            config, tensors = read_adapter(folder, is_trainable)
        else:
            config, tensors = replace(config, inference_mode=not is_trainable), read_tensors(folder)
        peft_model = cls(model, config, adapter_name, tensors)
        return peft_model if is_trainable else peft_model.eval()

    def _out_of_tree(self) -> dict[str, Adapter]:
        """The adapters that are not attached: their tensors are not in the model's tree."""
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
        """As in nn.Module; the adapter that was active in `state_dict` is active again.

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
