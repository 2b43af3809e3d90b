"""Short words for the configs of published counts, and for how those are printed."""

import math

from minipeft import (
    BottleneckConfig,
    LoraConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    VeraConfig,
)

QV, QKVO = ["q_proj", "v_proj"], ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL = [*QKVO, "gate_proj", "up_proj", "down_proj"]
DORA = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]  # the DoRA paper's five


def lora(r: int, targets: list[str] = QV, **more) -> LoraConfig:
    return LoraConfig(r=r, target_modules=targets, **more)


def vera(r: int, targets: list[str] = QV) -> VeraConfig:
    return VeraConfig(r=r, target_modules=targets)


def adapters(style: str, size: int, targets: list[str], **more) -> BottleneckConfig:
    return BottleneckConfig(style=style, bottleneck_size=size, target_modules=targets, **more)


def prompt(rows: int, **more) -> PromptTuningConfig:
    return PromptTuningConfig(num_virtual_tokens=rows, **more)


def prefix(rows: int, **more) -> PrefixTuningConfig:
    return PrefixTuningConfig(num_virtual_tokens=rows, **more)


def printed(value: float, text: str) -> bool:
    """Whether `value` is printed as `text`, rounded or cut off."""
    unit = {"K": 1e3, "M": 1e6, "B": 1e9}.get(text[-1], 1)
    digits = text.rstrip("KMB%")
    places = len(digits.partition(".")[2])
    scaled = value / unit
    cut = math.floor(scaled * 10**places) / 10**places
    return digits in (f"{scaled:.{places}f}", f"{cut:.{places}f}")
