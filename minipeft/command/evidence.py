"""What has been published on how much LoRA forgets, by rank. Nothing here predicts your adapter.

The measure of Biderman et al. 2024, "LoRA Learns Less and Forgets Less" (section 4.2): the mean
accuracy of Llama-2-7B on HellaSwag, ARC-challenge and WinoGrande after it learned something else.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measured:
    """One published pair: the mean accuracy that was left, with LoRA and with full fine-tuning."""

    rank: int
    task: str
    lora: float
    full: float

    @property
    def kept(self) -> float:
        """What LoRA kept beyond full fine-tuning, in points of accuracy between 0 and 1."""
        return round(self.lora - self.full, 3)


MEASURED = (
    Measured(64, "instruction tuning on code", lora=0.509, full=0.414),
    Measured(256, "continued pretraining on 20B tokens of code", lora=0.617, full=0.545),
)
SOURCES = (
    "Biderman et al. 2024, LoRA Learns Less and Forgets Less, section 4.2: Llama-2-7B, mean "
    "accuracy on HellaSwag, ARC-challenge and WinoGrande after learning code",
    "Kalajdzievski 2024, Scaling Laws for Forgetting (arXiv 2401.05605): LoRA still forgets, more "
    "with more trained parameters and more steps, and no choice of either avoids it",
    "Shuttleworth et al. 2024, LoRA vs Full Fine-tuning (arXiv 2410.21228): LoRA forgets less than "
    "full fine-tuning; what it forgets is due to new singular directions of the weights",
)


def forgetting_evidence(rank: int) -> dict[str, Any]:
    """The published range of what LoRA keeps beyond full fine-tuning, and where `rank` lies.

    rank: of the adapter. Returns rank, range (low, high), measured (each point), remark, sources.
    """
    ranks = [point.rank for point in MEASURED]
    kept = [point.kept for point in MEASURED]
    if rank in ranks:
        remark = f"measured at r={rank}, on one model and one task"
    elif rank < min(ranks):
        remark = f"r={rank} is below all measured ranks; the nearest is r={min(ranks)}"
    elif rank > max(ranks):
        remark = f"r={rank} is above all measured ranks; the nearest is r={max(ranks)}"
    else:
        remark = f"r={rank} lies between the measured ranks {min(ranks)} and {max(ranks)}"
    return {
        "rank": rank,
        "range": (min(kept), max(kept)),
        "measured": [vars(point) | {"kept": point.kept} for point in MEASURED],
        "remark": remark + "; other data, models and steps give other numbers",
        "sources": list(SOURCES),
    }
