"""Which tensors are trained: the adapter itself, built on modules that hold no numbers."""

import copy

import torch
from torch import Tensor, nn

from minipeft.core.adapted import AdaptedLinear
from minipeft.core.adapter import Adapter
from minipeft.core.config import PeftConfig
from minipeft.core.layer import Tuner
from minipeft.methods.soft_prompt import SoftPrompt
from minipeft.models.checkpoint import WithoutInitialization


def without_numbers(model: nn.Module) -> nn.Module:
    """A twin of the model on the meta device; what two modules share, their twins share."""
    twins: dict[int, Tensor] = {}
    for parameter in model.parameters():
        twin = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        twins[id(parameter)] = twin
    for buffer in model.buffers():
        twins[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(model, twins)


def fill_masks(module: nn.Module) -> None:
    """Let masks be real, and keep everything: AdaLoRA looks at its own to write its file."""
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            if buffer.dtype == torch.bool:
                setattr(owner, name, torch.ones(buffer.shape, dtype=torch.bool, device="cpu"))


class Training:
    """A model and what a config trains on it; None is full fine-tuning.

    dtype, adapter_dtype: of the base's numbers and of the tuners'; None leaves them as they are.
    own: path -> the names of the module's own parameters that are trained.

    Raises ValueError and TypeError as get_peft_model does.
    """

    def __init__(
        self,
        model: nn.Module,
        config: PeftConfig | None,
        dtype: torch.dtype | None = None,
        adapter_dtype: torch.dtype | None = None,
    ) -> None:
        self.model, self.adapter = without_numbers(model), None
        if dtype is not None:
            self.model.to(dtype)
        if config is not None:
            with torch.device("meta"), WithoutInitialization():
                self.adapter = Adapter(self.model, config)
            for piece in self._beside():
                piece.to(adapter_dtype)  # or nothing, where that is None
                fill_masks(piece)
        self.tuners = {} if self.adapter is None else self.adapter.tuners
        self.own: dict[str, set[str]] = {}
        for path in self._trained_in_place():
            owner, _, name = path.rpartition(".")
            self.own.setdefault(owner, set()).add(name)

    def _trained_in_place(self) -> list[str]:
        if self.adapter is None:
            named = self.model.named_parameters(remove_duplicate=False)
            return [name for name, parameter in named if parameter.requires_grad]
        replacements = self.adapter.replacements.items()
        kept = [(path, s) for path, s in replacements if not isinstance(s.new, AdaptedLinear)]
        return [
            name for path, replacement in kept for name, _ in replacement.named_parameters(path)
        ]

    def _beside(self) -> list[nn.Module]:
        """The modules that the method itself makes."""
        adapter = self.adapter
        made = [*adapter.tuners.values(), adapter.prompt, adapter.shared]
        return [module for module in made if module is not None]

    def held(self) -> list[Tensor]:
        """All that stands beside the base, trained or not."""
        if self.adapter is None:
            return []
        held = [parameter for _, parameter in self.adapter.named_parameters()]
        return held + [buffer for module in self._beside() for buffer in module.buffers()]

    @property
    def prompt(self) -> SoftPrompt | None:
        """The soft prompt, if any."""
        return None if self.adapter is None else self.adapter.prompt

    def trained(self, path: str) -> set[str]:
        """Which of its own parameters the module called `path` trains."""
        return self.own.get(path, set())

    def tuner(self, path: str) -> Tuner | None:
        """The tuner on the module called `path`, if any."""
        return self.tuners.get(path)

    def tensors(self) -> list[nn.Parameter]:
        """What is trained; what is shared, once."""
        holder = self.model if self.adapter is None else self.adapter
        found = {id(tensor): tensor for _, tensor in holder.named_parameters()}
        return [tensor for tensor in found.values() if tensor.requires_grad]
