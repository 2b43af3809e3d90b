"""Will it fit? The bytes at the peak of a training step, in three parts, for several setups.

All blocks of a decoder but the first, whose input takes no gradient, are alike, so every row of the
ledger is a straight line in their number: models of two and of three blocks say what one of eighty
takes, in a tenth of the time.
"""

from dataclasses import replace
from functools import cache

from minipeft.budget.ledger import Ledger
from minipeft.budget.memory import budget_of
from minipeft.budget.training_setup import TrainingSetup
from minipeft.methods.lora import LoraConfig
from minipeft.shapes.published import ARCHITECTURES

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
    for name, setup in SETUPS.items():
        options = {"batch": batch, "length": length, "checkpointing": checkpointing} | setup
        rows, peak, paged = rows_and_peak(model, TrainingSetup(**options), r)
        weights = rows["weights"] + rows["quantization constants"]
        states = rows["adapter"] + rows["optimizer"] - paged
        rest = peak - paged - weights - states
        found[name] = {"weights": weights, "adapter and states": states, "for a while": rest}
    return found


def rows_and_peak(model: str, setup: TrainingSetup, r: int) -> tuple[dict[str, int], int, int]:
    """The ledger's rows at the model's own depth, its peak there, and the bytes that may page."""
    whole = ARCHITECTURES[model]
    ledgers = [one.under(setup) for one in _shallow(model, replace(setup, checkpointing=True), r)]
    two, three = (budget_of(ledger, whole, None) for ledger in ledgers)
    more = whole.fields["num_hidden_layers"] - 2
    rows = {name: n + more * (three.rows[name] - n) for name, n in two.rows.items()}
    paged = two.paged_bytes + more * (three.paged_bytes - two.paged_bytes)
    return rows, ledgers[0].peak(rows), paged


@cache
def _shallow(model: str, setup: TrainingSetup, r: int) -> list[Ledger]:
    """Of two and of three blocks; checkpointing can be switched afterwards."""
    config = LoraConfig(r=r, lora_alpha=16, target_modules="all-linear")
    blocks = (ARCHITECTURES[model].but(num_hidden_layers=n) for n in (2, 3))
    return [Ledger(architecture, config, setup) for architecture in blocks]
