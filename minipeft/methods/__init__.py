"""One paper, one file. Importing this package enters each method in `METHODS`."""

from minipeft.core.config import METHODS
from minipeft.methods import (  # noqa: F401
    adalora,
    bitfit,
    bottleneck,
    diff_pruning,
    dora,
    ia3,
    lora,
    p_tuning,
    partial,
    pissa,
    prefix_tuning,
    prompt_tuning,
    vera,
)

__all__ = ["METHODS"]
