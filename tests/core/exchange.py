"""Adapter folders between Hugging Face peft and minipeft: the configurations, and opening them."""

import warnings
from pathlib import Path

import peft
import torch

from .models import FAMILIES

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def options_for(family: str, case: str) -> dict:
    """The cases of the exchange, phrased for a family."""
    suffixes, head = list(FAMILIES[family].targets), FAMILIES[family].head
    norm = FAMILIES[family].norm
    cases = {
        "plain": {},
        "all-linear": {"target_modules": "all-linear"},
        "rslora": {"use_rslora": True, "lora_alpha": 6},
        "patterns": {
            "rank_pattern": {suffixes[0]: 1, rf".*\.1\..*{suffixes[2]}": 5},
            "alpha_pattern": {suffixes[1]: 2.5},
        },
        "regex": {"target_modules": FAMILIES[family].regex},
        "biases of targets": {"bias": "lora_only"},
        "all biases": {"bias": "all"},
        "head saved": {"modules_to_save": [head]},
        "norms saved": {"modules_to_save": [norm]},
        "head and all biases": {"modules_to_save": [head], "bias": "all"},
        "some layers": {"layers_to_transform": [0, 2], "layers_pattern": FAMILIES[family].layers},
        "excluded": {"exclude_modules": [suffixes[1]]},
        "gaussian": {"init_lora_weights": "gaussian", "lora_dropout": 0.1},
    }
    return {"r": 3, "lora_alpha": 5, "target_modules": suffixes} | cases[case]


def open_in_peft(base: torch.nn.Module, folder: Path, adapter: str = "default") -> peft.PeftModel:
    """Open with peft, whose loading is not strict: a complaint in a warning is a failure here."""
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        model = peft.PeftModel.from_pretrained(base, folder, adapter_name=adapter)
    for complaint in complaints:
        text = str(complaint.message)
        assert "adapter keys" not in text and "keyword arguments" not in text, text
    return model.eval()
