"""The options that all soft prompts share: the number of rows, and the sizes of the model."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import nn

from minipeft.core.config import PeftConfig
from minipeft.core.errors import check_choice, check_list, check_whole, nearest
from minipeft.core.linear import adapter_place
from minipeft.core.patterns import matches
from minipeft.methods.soft_prompt import SoftPrompt


@dataclass
class PromptLearningConfig(PeftConfig):
    """What all soft prompts share, under peft's names; None is filled in from the model.

    num_virtual_tokens: n, the number of learned rows.
    token_dim, num_layers, num_attention_heads: the model's sizes; for prefixes those of its keys
        and values, which grouped-query attention has fewer heads of.
    num_transformer_submodules: 1; encoder-decoders, which have 2, are not built here.
    modules_to_save: names of modules that are trained in full and saved beside P.
    """

    num_virtual_tokens: int | None = None
    token_dim: int | None = None
    num_transformer_submodules: int | None = None
    num_attention_heads: int | None = None
    num_layers: int | None = None
    modules_to_save: list[str] | None = None

    encodes: ClassVar[bool] = False  # an encoder makes P, and no file holds it

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("num_virtual_tokens", self.num_virtual_tokens, 1)
        check_choice("num_transformer_submodules", self.num_transformer_submodules, [None, 1])
        check_list("modules_to_save", self.modules_to_save, str)

    def sizes(self, shape: Any) -> dict[str, int]:
        """The fields that the model's config decides, from that config."""
        return {
            "token_dim": shape.hidden_size,
            "num_attention_heads": shape.num_attention_heads,
            "num_layers": shape.num_hidden_layers,
            "num_transformer_submodules": 1,
        }

    def model_sizes(self, model: nn.Module) -> dict[str, int]:
        """The fields that the model decides. Raises ValueError where it has no such sizes."""
        return self.sizes(model.config)

    def with_model_defaults(self, model: nn.Module) -> Self:
        """With the model's sizes. Raises ValueError where others were given, or it has none."""
        shape = getattr(model, "config", None)
        if shape is None or not hasattr(model, "get_input_embeddings"):
            raise ValueError(
                f"{self.peft_type} on {type(model).__name__}: a soft prompt needs a model with "
                "config and get_input_embeddings(), such as minipeft.models.Llama"
            )
        if getattr(shape, "is_encoder_decoder", False):
            raise ValueError(f"{self.peft_type} on an encoder-decoder isn't built; choose LORA")
        for name, size in (sizes := self.model_sizes(model)).items():
            if getattr(self, name) not in (None, size):
                raise ValueError(
                    f"{name}={getattr(self, name)!r} doesn't fit {type(model).__name__}, "
                    f"where it is {size}; leave it None"
                )
        return replace(self, **sizes)

    def soft_prompt(self, model: nn.Module, new: bool) -> SoftPrompt:
        """P for a model. Raises ValueError where there is none of the modules_to_save, no place
        for P, or no encoder to go on training.
        """
        paths = dict(model.named_modules())
        for name in self.modules_to_save or []:
            if new and not any(matches(path, [name]) for path in paths):
                ends = {path.rpartition(".")[2] for path in paths}
                raise ValueError(f"modules_to_save={name!r} matches nothing; {nearest(name, ends)}")
        if self.encodes and not new and not self.inference_mode:
            raise ValueError(
                f"is_trainable=True: a {self.peft_type} file holds what the encoder made and not "
                "the encoder, so training can't go on from it; choose is_trainable=False"
            )
        prompt = self.prompt(model)
        if new:
            self.start(prompt, model)
        return prompt.to(**adapter_place(model.get_input_embeddings()))

    def prompt(self, model: nn.Module) -> SoftPrompt:
        """P, at random."""
        raise NotImplementedError

    def start(self, prompt: SoftPrompt, model: nn.Module) -> None:
        """Set the first values of a new P that does not start at random."""
