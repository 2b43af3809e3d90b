"""minipeft: parameter-efficient fine-tuning in plain PyTorch, under Hugging Face peft's names.

Configs and methods      LoraConfig AdaLoraConfig VeraConfig IA3Config BottleneckConfig
An optimizer's groups    create_loraplus_optimizer (LoRA+)
Selective                BitFitConfig PartialConfig DiffPruningConfig prune
Soft prompts             PromptTuningConfig PromptEncoderConfig PrefixTuningConfig
Attach, switch, merge    get_peft_model, PeftModel
An adapter's tensors     get_peft_model_state_dict set_peft_model_state_dict load_peft_weights
Names that scripts use   TaskType PeftType PeftConfig
One adapted layer        AdaptedLinear
Four bits                quantize_model prepare_model_for_kbit_training Linear4bit PagedAdamW
One weight in NF4        quantize_nf4 dequantize_nf4 NF4Tensor
Count and budget         count_parameters memory_budget Architecture ARCHITECTURES
Before loading           inspect_adapter
"""

import importlib
from typing import Any

from minipeft.core.adapted import AdaptedLinear
from minipeft.core.config import PeftConfig
from minipeft.core.layer import NotMergeable, Tuner
from minipeft.methods.adalora import AdaLoraConfig
from minipeft.methods.bitfit import BitFitConfig
from minipeft.methods.bottleneck import BottleneckConfig
from minipeft.methods.diff_pruning import DiffPruningConfig, prune
from minipeft.methods.ia3 import IA3Config
from minipeft.methods.lora import LoraConfig
from minipeft.methods.lora_plus import create_loraplus_optimizer
from minipeft.methods.p_tuning import PromptEncoderConfig
from minipeft.methods.partial import PartialConfig
from minipeft.methods.prefix_tuning import PrefixTuningConfig
from minipeft.methods.prompt_tuning import PromptTuningConfig
from minipeft.methods.vera import VeraConfig
from minipeft.model import PeftModel, get_peft_model
from minipeft.quant import Linear4bit, NF4Tensor, PagedAdamW, dequantize_nf4, quantize_nf4
from minipeft.quant.model import prepare_model_for_kbit_training, quantize_model
from minipeft.script import (
    PeftType,
    TaskType,
    get_peft_model_state_dict,
    load_peft_weights,
    set_peft_model_state_dict,
)

# Found when first asked for, so that `import minipeft` stays quick.
LATER = {
    "ARCHITECTURES": "minipeft.budget",
    "Architecture": "minipeft.budget",
    "count_parameters": "minipeft.budget",
    "inspect_adapter": "minipeft.command.inspect",
    "memory_budget": "minipeft.budget",
}

__all__ = [
    "ARCHITECTURES",
    "AdaLoraConfig",
    "AdaptedLinear",
    "Architecture",
    "BitFitConfig",
    "BottleneckConfig",
    "DiffPruningConfig",
    "IA3Config",
    "Linear4bit",
    "LoraConfig",
    "NF4Tensor",
    "NotMergeable",
    "PagedAdamW",
    "PartialConfig",
    "PeftConfig",
    "PeftModel",
    "PeftType",
    "PrefixTuningConfig",
    "PromptEncoderConfig",
    "PromptTuningConfig",
    "TaskType",
    "Tuner",
    "VeraConfig",
    "count_parameters",
    "create_loraplus_optimizer",
    "dequantize_nf4",
    "get_peft_model",
    "get_peft_model_state_dict",
    "inspect_adapter",
    "load_peft_weights",
    "memory_budget",
    "prepare_model_for_kbit_training",
    "prune",
    "quantize_model",
    "quantize_nf4",
    "set_peft_model_state_dict",
]


def __getattr__(name: str) -> Any:
    if name.startswith("AutoPeftModel"):
        raise AttributeError(
            f"module 'minipeft' has no {name!r}, which peft has: load the base with transformers' "
            "AutoModel class, then the adapter with PeftModel.from_pretrained(base, folder)"
        )
    if name not in LATER:
        raise AttributeError(f"module 'minipeft' has no attribute {name!r}")
    return getattr(importlib.import_module(LATER[name]), name)
