"""One paper, one file. Importing this package enters each method in `METHODS`."""

from minipeft.core.config import METHODS
from minipeft.methods import (  # noqa: F401
    adalora,
    bitfit,
    bottleneck,
    diff_pruning,
    ia3,
    lora_config,
    p_tuning,
    partial,
    prefix_tuning,
    prompt_tuning,
    vera,
)

__all__ = ["METHODS"]
