"""minipeft: parameter-efficient fine-tuning in plain PyTorch, under Hugging Face peft's names.

Configs and methods      LoraConfig
Soft prompts             PromptTuningConfig PromptEncoderConfig PrefixTuningConfig
Attach, switch, merge    get_peft_model, PeftModel
One adapted layer        AdaptedLinear
"""

from minipeft.adapted import AdaptedLinear
from minipeft.configs import PeftConfig
from minipeft.methods.lora import LoraConfig
from minipeft.methods.p_tuning import PromptEncoderConfig
from minipeft.methods.prefix_tuning import PrefixTuningConfig
from minipeft.methods.prompt_tuning import PromptTuningConfig
from minipeft.methods.tuner import NotMergeable, Tuner
from minipeft.model import PeftModel, get_peft_model

__all__ = [
    "AdaptedLinear",
    "LoraConfig",
    "NotMergeable",
    "PeftConfig",
    "PeftModel",
    "PrefixTuningConfig",
    "PromptEncoderConfig",
    "PromptTuningConfig",
    "Tuner",
    "get_peft_model",
]
