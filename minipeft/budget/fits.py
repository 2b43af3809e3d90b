"""Does it fit, why not, and what would help: other setups are tried out, nothing is guessed."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from minipeft.budget.training_setup import TrainingSetup
from minipeft.core.config import PeftConfig
from minipeft.methods.usual import USUAL, USUAL_NAME

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def parse_size(text: str | int) -> int:
    """Bytes of "24 GB" (24 * 10^9), "24 GiB" (24 * 2^30), or a number. Raises ValueError."""
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    found = re.fullmatch(r"\s*(\d+\.?\d*)\s*([A-Za-z]+)\s*", str(text))
    units = {unit.lower(): size for unit, size in UNITS.items()}
    if not found or found[2].lower() not in units:
        raise ValueError(
            f"room={text!r} is no size; say '24 GB' (24 * 10^9 bytes), '24 GiB' (24 * 2^30) or a "
            f"number of bytes; units: {', '.join(UNITS)}"
        )
    return round(float(found[1]) * units[found[2].lower()])


def both(count: int) -> str:
    """Bytes in the two units that are called gigabytes."""
    return f"{count / 1e9:.2f} GB = {count / 2**30:.2f} GiB"


@dataclass(frozen=True)
class Fit:
    """True where it fits.

    room, needed: bytes; needed is the peak less what may be paged out. reasons: where they go.
    changes: what to change -> the bytes needed then; each alone, and if need be together.
    """

    room: int
    needed: int
    reasons: list[str]
    changes: dict[str, int]

    def __bool__(self) -> bool:
        return self.needed <= self.room

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"fits": bool(self), **vars(self)}

    def __str__(self) -> str:
        verdict = "fits" if self else "does not fit"
        lines = [f"a peak of {both(self.needed)} {verdict} into {both(self.room)}", *self.reasons]
        for change, needed in self.changes.items():
            enough = "fits" if needed <= self.room else "not enough"
            lines.append(f"  with {change}: {both(needed)}, {enough}")
        return "\n".join(lines)


Needs = Callable[[PeftConfig | None, TrainingSetup], int]


def steps(
    config: PeftConfig | None, setup: TrainingSetup
) -> Iterator[tuple[str, PeftConfig | None, TrainingSetup]]:
    """What may be changed, the least harm first: each with its name."""
    if setup.training:
        yield "checkpointing=True", config, replace(setup, checkpointing=True)
        yield "optimizer='paged_adamw'", config, replace(setup, optimizer="paged_adamw")
    yield "batch=1", config, replace(setup, batch=1)
    if config is not None or not setup.training:  # what is in 4 bits can't be trained
        yield "quantization='nf4_double'", config, replace(setup, quantization="nf4_double")
    else:
        yield f"{USUAL_NAME} in place of full fine-tuning", USUAL, setup
    half = max(1, setup.length // 2)
    yield f"length={half}", config, replace(setup, length=half)


def find_changes(
    config: PeftConfig | None, setup: TrainingSetup, room: int, needs: Needs
) -> dict[str, int]:
    """What helps -> the bytes needed then: each change alone, or, if need be, several together."""
    now = needs(config, setup)
    if now <= room:
        return {}
    alone = {name: needs(*changed) for name, *changed in steps(config, setup)}
    changes = {name: needed for name, needed in alone.items() if needed < now}
    together = []
    while now > room and len(together) < 8:
        for name, other, changed in steps(config, setup):
            if name not in together and (needed := needs(other, changed)) < now:
                config, setup, now = other, changed, needed
                together.append(name)
                break
        else:
            break
    if len(together) > 1 and min(changes.values()) > room:
        changes[" and ".join(together)] = now
    return changes
