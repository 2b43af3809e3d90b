"""Published figures that arithmetic doesn't give, and why: what `remarks` say.

discrepancies.toml holds what was printed and never what is right: that is counted when asked for.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from minipeft.core.config import PeftConfig
from minipeft.methods import METHODS


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
