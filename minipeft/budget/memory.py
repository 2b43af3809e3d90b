"""The byte ledger: what training takes, one row for each thing that must be somewhere.

    weights + constants + adapter + gradients + optimizer + activations + logits + ...

How many bytes a number has is a convention, and papers have several (12, 16 or 18 for each trained
one), so each row says its own. GB are 10^9 bytes, GiB are 2^30.

Sources: Rajbhandari et al. 2020, "ZeRO", section 3.1 (states); Korthikanti et al. 2022, "Reducing
Activation Recomputation in Large Transformer Models", section 4 (activations); Dettmers et al.
2023, "QLoRA", sections 2 and 3 (constants).
"""

from dataclasses import dataclass
from typing import Any

from minipeft.budget.ledger import Ledger
from minipeft.budget.recipe import Recipe
from minipeft.budget.states import paged_bytes
from minipeft.configs import PeftConfig

ON_DISK = "adapter file"


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes by row, and what each row counts.

    paged_bytes: the part of the optimizer's states that may leave the GPU.
    model, config, recipe: what it was asked for.
    """

    rows: dict[str, int]
    notes: dict[str, str]
    paged_bytes: int
    model: Any
    config: PeftConfig | None
    recipe: Recipe

    @property
    def total_bytes(self) -> int:
        """All rows but the file on disk, as if everything were there at once: an upper bound."""
        return sum(count for name, count in self.rows.items() if name != ON_DISK)

    def table(self) -> str:
        """A line for each row that isn't 0: bytes, GB, GiB and the convention; then the total."""
        shown = {name: count for name, count in self.rows.items() if count}
        shown[TOTAL] = self.total_bytes
        wide = max(map(len, shown))
        lines = [f"{'':<{wide}}  {'bytes':>18}  {'GB (10^9)':>10}  {'GiB (2^30)':>10}"]
        for name, count in shown.items():
            gb, gib = count / 1e9, count / 2**30
            line = f"{name:<{wide}}  {count:>18,}  {gb:>10.3f}  {gib:>10.3f}"
            lines.append(f"{line}  {self.notes.get(name, '')}".rstrip())
        return "\n".join(lines)


TOTAL = "total in memory"


def memory_budget(
    architecture_or_model: Any, config: PeftConfig | None = None, **options: Any
) -> MemoryBudget:
    """What training takes, from shapes alone. Nothing is built and nothing is changed.

    architecture_or_model, config: as in count_parameters; None is full fine-tuning.
    options: batch, length, optimizer, checkpointing, quantization, dtype, ..., see Recipe.

    Raises ValueError or TypeError for what isn't known or doesn't go together.
    """
    recipe = Recipe(**options)
    ledger = Ledger(architecture_or_model, config, recipe)
    rows = list(ledger.rows())
    return MemoryBudget(
        {name: count for name, count, _ in rows},
        {name: note for name, _, note in rows},
        paged_bytes(ledger.trained, recipe.state_width) if "paged" in recipe.optimizer else 0,
        architecture_or_model,
        config,
        recipe,
    )
