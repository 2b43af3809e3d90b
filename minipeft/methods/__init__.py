"""One paper, one file. `METHODS` is the register: a new method is a new file and one line here."""

from minipeft.methods.adalora import AdaLoraConfig
from minipeft.methods.bitfit import BitFitConfig
from minipeft.methods.bottleneck import BottleneckConfig
from minipeft.methods.diff_pruning import DiffPruningConfig
from minipeft.methods.ia3 import IA3Config
from minipeft.methods.lora_config import LoraConfig
from minipeft.methods.p_tuning import PromptEncoderConfig
from minipeft.methods.partial import PartialConfig
from minipeft.methods.prefix_tuning import PrefixTuningConfig
from minipeft.methods.prompt_tuning import PromptTuningConfig
from minipeft.methods.vera import VeraConfig

CONFIGS = (
    LoraConfig,
    AdaLoraConfig,
    VeraConfig,
    IA3Config,
    BottleneckConfig,
    BitFitConfig,
    DiffPruningConfig,
    PartialConfig,
    PromptTuningConfig,
    PromptEncoderConfig,
    PrefixTuningConfig,
)
METHODS = {config.peft_type: config for config in CONFIGS}
