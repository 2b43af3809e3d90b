"""minipeft: parameter-efficient fine-tuning in plain PyTorch, under Hugging Face peft's names.

Configs and methods      LoraConfig AdaLoraConfig VeraConfig IA3Config BottleneckConfig
An optimizer's groups    create_loraplus_optimizer (LoRA+)
Selective                BitFitConfig PartialConfig DiffPruningConfig prune
Soft prompts             PromptTuningConfig PromptEncoderConfig PrefixTuningConfig
Attach, switch, merge    get_peft_model, PeftModel
One adapted layer        AdaptedLinear
"""

from minipeft.adapted import AdaptedLinear
from minipeft.configs import PeftConfig
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
from minipeft.methods.tuner import NotMergeable, Tuner
from minipeft.methods.vera import VeraConfig
from minipeft.model import PeftModel, get_peft_model

__all__ = [
    "AdaLoraConfig",
    "AdaptedLinear",
    "BitFitConfig",
    "BottleneckConfig",
    "DiffPruningConfig",
    "IA3Config",
    "LoraConfig",
    "NotMergeable",
    "PartialConfig",
    "PeftConfig",
    "PeftModel",
    "PrefixTuningConfig",
    "PromptEncoderConfig",
    "PromptTuningConfig",
    "Tuner",
    "VeraConfig",
    "create_loraplus_optimizer",
    "get_peft_model",
    "prune",
]
