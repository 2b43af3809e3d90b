"""Soft prompts: f(P, x), with learned vectors P before the text x; the model f is frozen.

What P is differs: token embeddings (prompt_tuning.py, p_tuning.py) or each layer's keys and values
(prefix_tuning.py). How a model's call gets it is shared: by a hook before the forward pass. A call
that starts a text gets P and n more places, all visible. A call that goes on from a cache finds P
in there; only its mask is widened and its positions move.

Trained: P, n rows (num_virtual_tokens), or an encoder that makes it and isn't needed afterwards.
"""

import inspect
from typing import ClassVar

from torch import Tensor, nn

from minipeft.core.modules import evaluating
from minipeft.methods.prompted_models import check_cache


class SoftPrompt(nn.Module):
    """P (rows, width) is `self()`; a hook gives it to the model that this is attached to.

    embedding: P itself, or what its encoder starts from. why_apart: why P can't be merged.
    """

    takes: ClassVar[str]  # the argument of the model's forward that brings P in
    why_apart: ClassVar[str]

    def __init__(self, model: nn.Module, rows: int, width: int) -> None:
        super().__init__()
        if hasattr(model, "prompt_encoder"):
            raise ValueError(
                f"{type(model).__name__} has a prompt_encoder of its own, where this one would be; "
                "choose LORA"
            )
        self.rows = rows
        self.embedding = nn.Embedding(rows, width)
        for path, module in model.named_modules():
            arguments = list(inspect.signature(module.forward).parameters)
            if self.takes in arguments and not self.passes_over(module):  # the outermost one
                self.reader, self.arguments = path, arguments
                return
        raise ValueError(
            f"a soft prompt on {type(model).__name__}: no forward there takes {self.takes}; choose "
            "a language model, or LORA"
        )

    def passes_over(self, module: nn.Module) -> bool:
        """Whether a module that takes P is passed over for one inside of it."""
        return False

    @property
    def encoded(self) -> bool:
        """Whether P is computed by an encoder, and so is no parameter."""
        return len(list(self.children())) > 1

    def forward(self) -> Tensor:
        return self.embedding.weight

    def file_tensors(self) -> dict[str, Tensor]:
        """P by its name in a file, a view where P is a parameter. Encoders run without dropout."""
        with evaluating(self):
            return {"prompt_embeddings": self().detach()}

    def attach(self, model: nn.Module) -> None:
        """Register P in the model, and a hook that puts P before each text that starts."""
        model.add_module("prompt_encoder", self.train(model.training))
        reader = model.get_submodule(self.reader)
        self.hook = reader.register_forward_pre_hook(self.before, with_kwargs=True)

    def detach(self, model: nn.Module) -> None:
        """Remove the hook and P from the model."""
        self.hook.remove()
        del model.prompt_encoder

    def before(self, reader: nn.Module, args: tuple, options: dict) -> tuple[tuple, dict] | None:
        """The arguments of a call, with P in them."""
        inputs = dict(zip(self.arguments, args, strict=False)) | options
        given = [inputs.get(name) for name in ("input_ids", "inputs_embeds")]
        if sum(text is not None for text in given) != 1:
            return None  # the model says what is wrong
        text = next(text for text in given if text is not None)
        if text.dim() != (2 if given[0] is not None else 3):
            raise ValueError(
                f"a soft prompt reads texts as (batch, length), not {tuple(text.shape)}: run each "
                "choice of a text as a sample of its own, or choose LORA"
            )
        length = text.shape[1]
        mask = inputs.get("attention_mask")  # (batch, past + length)
        if mask is not None and getattr(mask, "ndim", 0) != 2:
            raise ValueError("attention_mask with a soft prompt must be (batch, past + length)")
        if inputs.get("use_cache") is False and mask is not None and mask.shape[1] == length:
            inputs["past_key_values"] = None  # transformers hands on what an earlier call left
        cache = inputs.get("past_key_values")
        check_cache(cache)
        past = 0 if cache is None else cache.get_seq_length()
        if past == 0 or mask is None or mask.shape[1] != past + length:  # the caller left P out
            if mask is not None:
                inputs["attention_mask"] = nn.functional.pad(mask, (self.rows, 0), value=1)
            if inputs.get("position_ids") is not None:
                inputs["position_ids"] = inputs["position_ids"] + self.rows
        inputs.pop("cache_position", None)  # the model counts again
        if past == 0:
            self.begin(reader, inputs)
        return args[len(self.arguments) :], inputs

    def begin(self, reader: nn.Module, inputs: dict) -> None:
        """Put P into the arguments of a call that starts a text."""
        raise NotImplementedError
