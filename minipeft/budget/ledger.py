"""The rows of the byte ledger: each a number of bytes, and what is counted."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from minipeft.budget.activations import Forward
from minipeft.budget.states import file_bytes, optimizer_bytes, quantized_bytes
from minipeft.budget.training import Training
from minipeft.budget.training_setup import DTYPES, TrainingSetup
from minipeft.core.config import PeftConfig
from minipeft.core.linear import is_linear, is_packed
from minipeft.core.patterns import is_below, matches
from minipeft.quant.linear4bit import Linear4bit
from minipeft.shapes.naming import architecture_for, model_for

Row = tuple[str, int, str]


class Ledger:
    """What one recipe takes for one model and config.

    Raises ValueError or TypeError where the three don't go together.
    """

    def __init__(self, wanted: Any, config: PeftConfig | None, recipe: TrainingSetup) -> None:
        if recipe.training and recipe.quantization and config is None:
            raise ValueError(
                f"quantization={recipe.quantization!r} freezes the weights, so nothing would be "
                "trained; give a config such as LoraConfig, or choose training=False"
            )
        self.recipe, self.architecture = recipe, architecture_for(wanted, config)
        real = isinstance(wanted, nn.Module)
        dtype = DTYPES.get(recipe.dtype or (None if real else "bfloat16"))
        adapter_dtype = DTYPES.get(recipe.adapter_dtype)
        self.training = Training(model_for(wanted, config), config, dtype, adapter_dtype)
        floating = (p for p in self.training.model.parameters() if p.is_floating_point())
        self.dtype = next(floating).dtype  # of activations, too
        self.fused = not (real and next(wanted.parameters()).device.type == "cpu")
        self.trained = self.training.tensors() if recipe.training else []

    def rows(self) -> Iterator[Row]:
        """All rows, in order; those that this recipe doesn't have are 0."""
        yield from self.base()
        yield "adapter", size(self.training.held()), "what stands beside the base, its own dtypes"
        yield from self.states()
        yield from self.passes()
        yield self.cache()
        yield "adapter file", self.file(), "adapter_model.safetensors: on disk, not in the total"

    @cached_property
    def matrices(self) -> dict[int, int]:
        """The weights that are to be quantized: id -> numbers."""
        if self.recipe.quantization is None:
            return {}
        modules = dict(self.training.model.named_modules())
        skipped = [path for path in modules if matches(path, list(self.recipe.skip))]
        return {
            id(layer.weight): layer.weight.numel()
            for path, layer in modules.items()
            if is_linear(layer) and not is_packed(layer) and not is_below(path, skipped)
        }

    @cached_property
    def packed(self) -> list[Linear4bit]:
        """The layers that are in 4 bits already."""
        modules = self.training.model.modules()
        return [module for module in modules if isinstance(module, Linear4bit)]

    def base(self) -> Iterator[Row]:
        """The weights, and the constants of those in 4 bits."""
        model, double = self.training.model, self.recipe.quantization == "nf4_double"
        whole = size(p for p in model.parameters() if id(p) not in self.matrices)
        made = [quantized_bytes(numbers, double) for numbers in self.matrices.values()]
        note = f"{self.dtype.itemsize} bytes each ({name(self.dtype)})"
        if made or self.packed:
            note = f"linear layers 4 bits each, the rest {note}"
        yield "weights", whole + sum(codes for codes, _ in made), note
        constants = sum(extra for _, extra in made)
        constants += sum(size(layer.buffers()) for layer in self.packed)
        yield "quantization constants", constants, "an absmax for each 64 weights"

    def states(self) -> Iterator[Row]:
        """What the optimizer works with, for each trained number."""
        recipe, tensors = self.recipe, self.trained
        width = DTYPES[recipe.gradient_dtype].itemsize if recipe.gradient_dtype else None
        gradients = sum(t.numel() * (width or t.itemsize) for t in tensors)
        note = "as wide as what is trained" if width is None else f"{width} bytes each"
        yield "gradients", gradients, note
        states = optimizer_bytes(recipe.optimizer, tensors, recipe.state_width)
        yield "optimizer", states, f"{recipe.optimizer}, means in {recipe.state_dtype}"
        narrow = [t for t in tensors if t.itemsize == 2] if recipe.master_copy else []
        yield "master copy", 4 * sum(t.numel() for t in narrow), "4 bytes each, if asked for"

    def passes(self) -> Iterator[Row]:
        """What a forward and a backward pass leave lying about."""
        recipe, forward = self.recipe, self.forward
        how = "each layer's input alone" if recipe.checkpointing else "all that backward reads"
        yield "activations", forward.kept.bytes, f"{how}, {recipe.attention} attention"
        yield "recomputation", forward.recomputed, "one checkpointed layer, while it is made again"
        kept, note = self.logits, "of every token that is read"
        if recipe.training and self.logits:  # and which answer was right
            kept += 8 * forward.answers()[0] + self.dtype.itemsize
            note = "their logarithms, kept by the loss"
        yield "logits", kept, note
        note = "logits and gradients on their way, a matrix out of 4 bits: the most at once"
        yield "temporary", max(self.at_the_loss(), self.in_a_layer()), note
        note = "torch's copy of all of v, on a GPU; adamw_fused has none"
        yield "optimizer step", self.in_a_step(), note

    @cached_property
    def forward(self) -> Forward:
        """The forward pass; when generating, its sizes alone."""
        width = self.dtype.itemsize
        forward = Forward(self.architecture, self.training, self.recipe, width, self.fused)
        if self.recipe.training:
            forward.run()
        return forward

    @property
    def logits(self) -> int:
        """The bytes of the logits."""
        answers, choices = self.forward.answers()
        return answers * choices * self.dtype.itemsize

    def at_the_loss(self) -> int:
        """As the backward pass begins: the logits, their gradient and that of their logarithms."""
        return 3 * self.logits if self.recipe.training else 0

    def in_a_layer(self) -> int:
        """The logits still, two gradients as wide as the MLP, and a matrix out of 4 bits."""
        numbers = [layer.in_features * layer.out_features for layer in self.packed]
        unpacked = max([*numbers, *self.matrices.values()], default=0)
        wide = 2 * self.forward.widest() + self.logits if self.recipe.training else 0
        return wide + unpacked * self.dtype.itemsize

    def in_a_step(self) -> int:
        """What torch's AdamW makes of v: for all tensors at once on a GPU, else for one."""
        numbers = [tensor.numel() for tensor in self.trained]
        if self.recipe.optimizer != "adamw" or not numbers:
            return 0
        return self.recipe.state_width * (sum(numbers) if self.fused else max(numbers))

    def peak(self, rows: dict[str, int]) -> int:
        """The most at one moment, where gradients are dropped after each step.

        The backward pass uses up activations and makes gradients, so that both are never there in
        full, unless steps are accumulated.
        """
        stay = ("weights", "quantization constants", "adapter", "optimizer", "master copy")
        fixed = sum(rows[name] for name in (*stay, "key/value cache"))
        loss = rows["activations"] + rows["logits"] + self.at_the_loss()
        used = max(rows["activations"], rows["gradients"])
        layer = used + rows["recomputation"] + self.in_a_layer()
        step = rows["gradients"] + rows["optimizer step"] + self.logits
        return fixed + max(loss, layer, step)

    def cache(self) -> Row:
        """Keys and values of all tokens, while generating."""
        recipe, bytes_ = self.recipe, 0
        lengths = self.architecture.shape.lengths(recipe.length, recipe.answer_length)
        for stack, length in zip(self.architecture.stacks, lengths, strict=True):
            if stack.causal and not recipe.training:
                read = length + (lengths[0] if "cross_k_proj" in stack.names else 0)
                numbers = 2 * stack.layers * stack.kv_heads * stack.head_dim
                bytes_ += recipe.batch * read * numbers * self.dtype.itemsize
        return "key/value cache", bytes_, f"{name(self.dtype)}; only while generating"

    def file(self) -> int:
        """What save_pretrained would write."""
        adapter = self.training.adapter
        return file_bytes(adapter.state_dict()) if adapter is not None else 0


def size(tensors: Iterator[Tensor]) -> int:
    """The bytes of these tensors, each once."""
    return sum({id(tensor): tensor.numel() * tensor.itemsize for tensor in tensors}.values())


def name(dtype: Any) -> str:
    """float32 for torch.float32."""
    return str(dtype).removeprefix("torch.")
