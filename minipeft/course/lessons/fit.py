"""Will it fit? The bytes at the peak of a training step, in three parts, for several setups."""

from functools import cache

from minipeft.budget import memory_budget
from minipeft.methods.lora import LoraConfig

QLORA = {"quantization": "nf4_double", "optimizer": "paged_adamw"}
SETUPS = {
    "LoRA on 16 bits": {},
    "QLoRA": QLORA,
    "QLoRA, prepared": QLORA | {"prepared": True},
}


@cache
def peak_parts(
    model: str, batch: int, length: int, checkpointing: bool, r: int = 64
) -> dict[str, dict[str, int]]:
    """For each setup its peak in bytes by part; what may be paged out is left out.

    model: a Llama-style one by its published name. LoRA of rank r is on all linear layers.
    The parts: the base's weights with their constants; the adapter and the optimizer's states that
    stay; all that a step needs for a while, such as activations and gradients.
    """
    found = {}
    config = LoraConfig(r=r, lora_alpha=16, target_modules="all-linear")
    for name, setup in SETUPS.items():
        options = {"batch": batch, "length": length, "checkpointing": checkpointing} | setup
        budget = memory_budget(model, config, **options)
        rows = budget.rows
        weights = rows["weights"] + rows["quantization constants"]
        states = rows["adapter"] + rows["optimizer"] - budget.paged_bytes
        rest = budget.needed_bytes - weights - states
        found[name] = {"weights": weights, "adapter and states": states, "for a while": rest}
    return found
