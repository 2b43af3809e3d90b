"""Published figures that arithmetic doesn't give, and why: what `remarks` say.

discrepancies.toml holds what was printed and never what is right: that is counted when asked for.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minipeft.core.config import PeftConfig
from minipeft.methods import METHODS
from minipeft.shapes.published import ARCHITECTURES, find_architecture


@dataclass(frozen=True, eq=False)
class Discrepancy:
    """What a source prints for a config on a model; config None is the model's own total."""

    model: str
    config: PeftConfig | None
    printed: str
    source: str
    why: str

    def __str__(self) -> str:
        return f"printed as {self.printed} in {self.source}: {self.why}"


@dataclass(frozen=True)
class MemoryDiscrepancy:
    """What a source prints for a model's memory. full: for full fine-tuning, not an adapter."""

    model: str
    full: bool
    text: str
    quantization: str | None = None


TABLE = tomllib.loads(Path(__file__).with_name("discrepancies.toml").read_text("utf-8"))
CONFIGS = [entry.pop("config", None) for entry in TABLE["counts"]]
CONFIGS = [given and METHODS[given["peft_type"]].from_dict(given) for given in CONFIGS]
DISCREPANCIES = [
    Discrepancy(config=config, **entry)
    for config, entry in zip(CONFIGS, TABLE["counts"], strict=True)
]
MEMORY_DISCREPANCIES = [MemoryDiscrepancy(**entry) for entry in TABLE["memory"]]


def about(wanted: Any, claims: list) -> list:
    """Those of the claims that concern a model of this shape, whatever its head."""
    try:
        architecture = find_architecture(wanted)
    except ValueError:
        return []  # a model of no known family
    return [one for one in claims if architecture.like(ARCHITECTURES[one.model])]
