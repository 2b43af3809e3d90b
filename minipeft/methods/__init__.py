"""One paper, one file. `METHODS` is the register: a new method is a new file and one line here."""

from minipeft.methods.lora import LoraConfig
from minipeft.methods.p_tuning import PromptEncoderConfig
from minipeft.methods.prefix_tuning import PrefixTuningConfig
from minipeft.methods.prompt_tuning import PromptTuningConfig

CONFIGS = (
    LoraConfig,
    PromptTuningConfig,
    PromptEncoderConfig,
    PrefixTuningConfig,
)
METHODS = {config.peft_type: config for config in CONFIGS}
