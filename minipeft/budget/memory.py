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

from minipeft.budget.discrepancies import MEMORY_DISCREPANCIES, about
from minipeft.budget.fits import Fit, both, find_changes, parse_size
from minipeft.budget.ledger import Ledger
from minipeft.budget.training_setup import TrainingSetup
from minipeft.core.config import PeftConfig

ON_DISK, TOTAL, PEAK = "adapter file", "total in memory", "peak of one moment"


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes by row, and what each row counts.

    moments: the rows that are there at once, at three moments of a step; the largest is the peak.
    paged_bytes: the part of the optimizer's states that may leave the GPU.
    model, config, setup: what it was asked for.
    """

    rows: dict[str, int]
    notes: dict[str, str]
    moments: dict[str, dict[str, int]]
    paged_bytes: int
    model: Any
    config: PeftConfig | None
    setup: TrainingSetup

    @property
    def in_memory(self) -> dict[str, int]:
        """The rows but the file, which lies on disk."""
        return {name: count for name, count in self.rows.items() if name != ON_DISK}

    @property
    def total_bytes(self) -> int:
        """The sum of all rows, as if all were in memory at once: no peak is higher."""
        return sum(self.in_memory.values())

    @property
    def peak_bytes(self) -> int:
        """The most at one moment, where gradients are dropped after each step."""
        return max(sum(there.values()) for there in self.moments.values())

    @property
    def needed_bytes(self) -> int:
        """The peak, less what may be paged out."""
        return self.peak_bytes - self.paged_bytes

    @property
    def remarks(self) -> list[str]:
        """Where others print another figure, and why."""
        asked = self.config is None, self.setup.quantization
        known = [one for one in MEMORY_DISCREPANCIES if (one.full, one.quantization) == asked]
        return [one.text for one in about(self.model, known)]

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        found = {n: getattr(self, n) for n in ("rows", "total_bytes", "peak_bytes", "paged_bytes")}
        return found | {"counted_as": self.notes, "recipe": vars(self.setup)}

    def table(self) -> str:
        """A line for each row that isn't 0: bytes, GB, GiB and the convention; then the total."""
        shown = {name: count for name, count in self.rows.items() if count}
        shown |= {TOTAL: self.total_bytes, PEAK: self.peak_bytes}
        wide = max(map(len, shown))
        lines = [f"{'':<{wide}}  {'bytes':>18}  {'GB (10^9)':>10}  {'GiB (2^30)':>10}"]
        for name, count in shown.items():
            line = f"{name:<{wide}}  {count:>18,}  {count / 1e9:>10.3f}  {count / 2**30:>10.3f}"
            lines.append(f"{line}  {self.notes.get(name, '')}".rstrip())
        return "\n".join(lines + self.remarks)

    def fits(self, room: str | int) -> Fit:
        """Whether its peak fits into "24 GB", the reasons, what to change. Raises ValueError."""
        largest = sorted(self.in_memory.items(), key=lambda row: -row[1])[:3]
        reasons = [f"{name}: {both(count)}" for name, count in largest]
        if self.paged_bytes:
            reasons.append(f"{both(self.paged_bytes)} of the optimizer may be paged out")
        ledgers: list[tuple[PeftConfig | None, Ledger]] = []

        def needs(config: PeftConfig | None, setup: TrainingSetup) -> int:
            if (config, setup) == (self.config, self.setup):
                return self.needed_bytes
            seen = (one.under(setup) for known, one in ledgers if known == config)
            ledger = next((one for one in seen if one is not None), None)
            if ledger is None:
                ledgers.append((config, ledger := Ledger(self.model, config, setup)))
            return budget_of(ledger, self.model, config).needed_bytes

        size = parse_size(room)
        changes = find_changes(self.config, self.setup, size, needs)
        return Fit(size, self.needed_bytes, reasons, changes)

    def plot(self) -> Any:
        """The rows as bars, in a matplotlib Figure."""
        from minipeft.budget.plot import bars  # matplotlib is asked for only here

        title = f"{self.total_bytes / 1e9:.2f} GB = {self.total_bytes / 2**30:.2f} GiB in memory"
        return bars({name: count for name, count in self.in_memory.items() if count}, title)


def memory_budget(
    architecture_or_model: Any, config: PeftConfig | None = None, **options: Any
) -> MemoryBudget:
    """What training takes, from shapes alone. Nothing is built and nothing is changed.

    architecture_or_model, config: as in count_parameters; None is full fine-tuning.
    options: batch, length, optimizer, checkpointing, quantization, dtype, ..., see TrainingSetup.

    Raises ValueError or TypeError for what isn't known or doesn't go together.
    """
    ledger = Ledger(architecture_or_model, config, TrainingSetup(**options))
    return budget_of(ledger, architecture_or_model, config)


def budget_of(ledger: Ledger, wanted: Any, config: PeftConfig | None) -> MemoryBudget:
    """The rows of a ledger."""
    listed, setup = list(ledger.rows()), ledger.setup
    rows = {name: count for name, count, _ in listed}
    return MemoryBudget(
        rows,
        {name: note for name, _, note in listed},
        ledger.moments(rows),
        setup.paged_bytes(ledger.trained),
        wanted,
        config,
        setup,
    )
