"""How a model is trained, as far as that takes memory: the options of `memory_budget`, checked."""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from minipeft.core.errors import check_choice, check_list, check_whole

DTYPES = {name: getattr(torch, name) for name in ("float64", "float32", "bfloat16", "float16")}
# Name -> how many running means each trained number has. AdamW's are m and v; Lion has one.
OPTIMIZERS = dict.fromkeys(("adamw", "adamw_fused", "adamw_8bit", "paged_adamw"), 2)
OPTIMIZERS |= {"lion": 1, "sgd": 0, "sgd_momentum": 1}


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
        for name in ("checkpointing", "prepared", "master_copy", "training"):
            check_choice(name, getattr(self, name), [True, False])
        for name in ("dtype", "adapter_dtype", "gradient_dtype"):
            check_choice(name, getattr(self, name), [None, *DTYPES])
        check_choice("state_dtype", self.state_dtype, list(DTYPES))
        check_choice("optimizer", self.optimizer, list(OPTIMIZERS))
        check_choice("quantization", self.quantization, [None, "nf4", "nf4_double"])
        check_choice("attention", self.attention, ["sdpa", "flash", "eager"])
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
