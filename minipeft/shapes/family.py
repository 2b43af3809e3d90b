"""A family of models: the fields of its `config.json` that say its shape, and that shape."""

from typing import Any, ClassVar

from torch import nn

from minipeft.shapes.layer_stack import LayerStack
from minipeft.shapes.meta_model import Parts

REQUIRED = object()


class Family:
    """One modeling file of Hugging Face transformers, in shapes. An instance is one model's.

    sizes: field -> its default, or REQUIRED. own_names: field -> the name it has in this family.
    base: where the base lies in a model that has a head. tasks: the heads there are, the usual
    one first, under peft's names; "FEATURE_EXTRACTION" is the base alone. words: the embedding.
    """

    sizes: ClassVar[dict[str, object]] = {}
    own_names: ClassVar[dict[str, str]] = {}
    base = "model."
    tasks: tuple[str, ...] = ()
    words = "embed_tokens"

    def __init__(self, model_type: str, task: str, num_labels: int, sizes: dict[str, Any]) -> None:
        self.model_type, self.task, self.num_labels = model_type, task, num_labels
        vars(self).update(sizes)
        self.complete()

    def complete(self) -> None:
        """Fill in the sizes that follow from others. Raises ValueError where they don't fit."""
        if getattr(self, "head_dim", None) is None:
            self.head_dim = divided("hidden_size", self.hidden_size, self.num_attention_heads)

    def stacks(self) -> list[LayerStack]:
        """The layers."""
        raise NotImplementedError

    def around(self) -> Parts:
        """What the base has before and after its layers."""
        raise NotImplementedError

    def top(self, words: nn.Embedding) -> Parts:
        """What stands on top of the base for the task."""
        raise NotImplementedError

    def output(self) -> str | None:
        """The name of the layer that makes a language model's logits."""
        return None

    def lengths(self, length: int, target_length: int) -> list[int]:
        """How many tokens each stack reads, of a text and what it becomes."""
        return [length]

    def in_base(self, path: str) -> str:
        """The whole name of a module of the base."""
        return path if self.task == "FEATURE_EXTRACTION" else self.base + path

    def parts(self, canonical: bool) -> Parts:
        """Every module of the model by its name, the canonical ones for the layers' matrices."""
        around = dict(self.around())
        for path, part in around.items():
            yield self.in_base(path), part
        for stack in self.stacks():
            for path, part in stack.parts(canonical):
                yield self.in_base(path), part
        yield from self.top(around[self.words])


def divided(name: str, size: int, among: int) -> int:
    """The size of each of `among` equal parts. Raises ValueError where they aren't equal."""
    if size % among:
        raise ValueError(
            f"{name}={size} can't be divided by {among}; "
            f"nearest: {max(1, round(size / among)) * among}"
        )
    return size // among
