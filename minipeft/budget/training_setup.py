"""How a model is trained, as far as that takes memory: the options of `memory_budget`, checked."""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from minipeft.core.errors import check_choice, check_list, check_whole

DTYPES = {name: getattr(torch, name) for name in ("float64", "float32", "bfloat16", "float16")}
# Name -> how many running means each trained number has. AdamW's are m and v; Lion has one.
OPTIMIZERS = dict.fromkeys(("adamw", "adamw_fused", "adamw_8bit", "paged_adamw"), 2)
OPTIMIZERS |= {"lion": 1, "sgd": 0, "sgd_momentum": 1}
SMALLEST_8BIT = 4096  # bitsandbytes keeps the states of smaller tensors in 32 bits
STATE_BLOCK = 256  # 8-bit states to an absmax
SMALLEST_PAGED = 100_000  # ... and never pages the states of smaller ones
CHOICES = {name: [True, False] for name in ("checkpointing", "prepared", "master_copy", "training")}
CHOICES |= {name: [None, *DTYPES] for name in ("dtype", "adapter_dtype", "gradient_dtype")}
CHOICES |= {"state_dtype": list(DTYPES), "optimizer": list(OPTIMIZERS)}
CHOICES |= {"quantization": [None, "nf4", "nf4_double"], "attention": ["sdpa", "flash", "eager"]}


@dataclass(frozen=True)
class TrainingSetup:
    """The options of `memory_budget`.

    batch, length: texts and tokens of each in one forward pass; target_length: of what an
        encoder-decoder makes of it, `length` if None.
    optimizer: "adamw" (torch's as it comes), "adamw_fused" (with fused=True), "adamw_8bit",
        "paged_adamw", "lion", "sgd" or "sgd_momentum".
    checkpointing: keep each layer's input alone, and compute the layer again.
    quantization: None, "nf4", or "nf4_double" with double quantization; of all linear layers but
        those that `skip` names, as in quantize_model.
    prepared: after prepare_model_for_kbit_training, which puts what has 16 bits into 32.
    dtype: of the base's numbers and of activations: "bfloat16" for an architecture; a model has
        its own. adapter_dtype: None is "float32", or wider with a wider base, as peft has it.
    gradient_dtype: None is that of what is trained. state_dtype: of the optimizer's means.
    master_copy: keep what is trained in 16 bits in 32 bits as well (mixed precision of old).
    attention: "sdpa" or "flash" (one operation), or "eager".
    training: False is generation: a key/value cache in place of all that training needs.

    Raises ValueError for a value that isn't known.
    """

    batch: int = 1
    length: int = 512
    target_length: int | None = None
    optimizer: str = "adamw"
    checkpointing: bool = False
    quantization: str | None = None
    skip: tuple[str, ...] | list[str] = ("lm_head",)
    prepared: bool = False
    dtype: str | None = None
    adapter_dtype: str | None = None
    gradient_dtype: str | None = None
    state_dtype: str = "float32"
    master_copy: bool = False
    attention: str = "sdpa"
    training: bool = True

    def __post_init__(self) -> None:
        for name in ("batch", "length", "target_length"):
            if name != "target_length" or self.target_length is not None:
                check_whole(name, getattr(self, name), 1)
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        check_list("skip", self.skip, str)

    def on(self, config_json: dict[str, Any]) -> Self:
        """This setup for weights that are quantized already, by their `config.json`.

        Raises ValueError for a kind that isn't budgeted here: bitsandbytes' 4 bits are.
        """
        told = config_json.get("quantization_config")
        if not told or self.quantization:
            return self
        if not told.get("load_in_4bit"):
            raise ValueError(
                f"quantization_config={told!r} isn't budgeted here; give quantization='nf4_double' "
                "for 4 bits, or a config without it"
            )
        kind = "nf4_double" if told.get("bnb_4bit_use_double_quant") else "nf4"
        skipped = [name.rpartition(".")[2] for name in told.get("llm_int8_skip_modules") or []]
        return replace(self, quantization=kind, skip=tuple({*self.skip, *skipped}))

    @property
    def answer_length(self) -> int:
        """The tokens that a decoder reads."""
        return self.target_length or self.length

    @property
    def state_width(self) -> int:
        """Bytes of each of the optimizer's running means."""
        return DTYPES[self.state_dtype].itemsize

    def state_bytes(self, tensors: list[Tensor]) -> int:
        """The optimizer's states on these tensors.

        torch's AdamW also counts the steps of each tensor, in 4 bytes; bitsandbytes' 8-bit states
        have two tables of 256 levels for all.
        """
        means, sizes = OPTIMIZERS[self.optimizer], [tensor.numel() for tensor in tensors]
        if self.optimizer != "adamw_8bit":
            steps = 4 * len(sizes) if "adamw" in self.optimizer else 0
            return means * self.state_width * sum(sizes) + steps
        large = [size for size in sizes if size >= SMALLEST_8BIT]
        scales = 4 * sum(-(size // -STATE_BLOCK) for size in large)
        tables = 4 * 256 if large else 0
        return means * (sum(large) + scales + 4 * (sum(sizes) - sum(large)) + tables)

    def paged_bytes(self, tensors: list[Tensor]) -> int:
        """That part of the states which may leave the GPU."""
        large = [tensor.numel() for tensor in tensors if tensor.numel() >= SMALLEST_PAGED]
        return 2 * self.state_width * sum(large) if "paged" in self.optimizer else 0
