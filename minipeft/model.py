"""PeftModel: call, mix and count what a Carrier holds, and keep it in files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from minipeft.carrier import Carrier
from minipeft.core.adapter import Adapter
from minipeft.core.config import PeftConfig
from minipeft.core.files import read_adapter, save_adapters
from minipeft.several.mixed import BASE, Mixture
from minipeft.several.weighted import weighted_sum


def get_peft_model(
    model: nn.Module, peft_config: PeftConfig, adapter_name: str = "default"
) -> "PeftModel":
    """Freeze `model` and attach a new adapter to it. Named and used as in Hugging Face peft.

    Raises TypeError or ValueError for what doesn't fit; the model is then as it was.
    """
    return PeftModel(model, peft_config, adapter_name)


class PeftModel(Carrier):
    """A base and its adapters (see Carrier), under the names that peft gives to it all."""

    _mixture: Mixture | None = None  # of the adapters last mixed

    def forward(self, *inputs: Any, adapter_names: list[str] | None = None, **options: Any) -> Any:
        """The adapted model; sample i through its own adapter where `adapter_names` is given.

        A `loss` that the model itself works out is what to minimize: with the method's penalty.
        """
        with self.mixed(adapter_names):
            answer = self.base_model(*inputs, **options)
        if isinstance(getattr(answer, "loss", None), Tensor) and self.attached:
            answer.loss = answer.loss + self.penalty()
        return answer

    def generate(self, *inputs: Any, adapter_names: list[str] | None = None, **options: Any) -> Any:
        """The base's own generate, with the adapter in force or one for each sample."""
        with self.mixed(adapter_names):
            return self.base_model.generate(*inputs, **options)

    @contextmanager
    def mixed(self, adapter_names: list[str] | None) -> Iterator[None]:
        """Within the block sample i of a batch goes through `adapter_names[i]`.

        "__base__" is the bare base; None changes nothing. Raises ValueError for an unknown or
        unfit adapter, RuntimeError while training, merged or disabled.
        """
        if adapter_names is None:
            yield
            return
        if self.base_model.training or self.merged or not self.attached:
            raise RuntimeError(
                "adapter_names is for eval() mode with the adapters attached and none merged"
            )
        if self._mixture is None or self._mixture.outdated(self.adapters, adapter_names):
            used = {name: self._adapter(name) for name in adapter_names if name != BASE}
            self._mixture = Mixture(used)
        with self.disable_adapter(), self._mixture.standing(adapter_names):
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
