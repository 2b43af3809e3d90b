"""The family tree of methods: three families, and what a few of each train on the course's base.

The families are those of Lialin et al. 2023, "Scaling Down to Scale Up", section 3. QLoRA is not
among them: it is LoRA beside a base in 4 bits, a recipe of training.
"""

from minipeft.budget.count import count_parameters
from minipeft.core.config import PeftConfig
from minipeft.course.base import load_base
from minipeft.course.lessons.baselines import untied
from minipeft.methods.bottleneck import BottleneckConfig
from minipeft.methods.ia3 import IA3Config
from minipeft.methods.lora import LoraConfig
from minipeft.methods.partial import PartialConfig
from minipeft.methods.prefix_tuning import PrefixTuningConfig
from minipeft.methods.prompt_tuning import PromptTuningConfig
from minipeft.methods.vera import VeraConfig


def families() -> dict[str, dict[str, PeftConfig]]:
    """{"selective": {"norms": its config, ...}, "additive": ..., "reparameterized": ...}."""
    into = {"target_modules": ["k_proj", "v_proj", "down_proj"]}
    return {
        "selective": {
            "last block": PartialConfig(last_layers=1),
            "head": PartialConfig(modules_to_save=["lm_head"]),
            "norms": PartialConfig(norms=True),
        },
        "additive": {
            "adapters, 16 wide": BottleneckConfig(bottleneck_size=16),
            "prefixes, 20 in each block": PrefixTuningConfig(num_virtual_tokens=20),
            "a prompt of 20 vectors": PromptTuningConfig(num_virtual_tokens=20),
            "(IA)³": IA3Config(**into, feedforward_modules=["down_proj"]),
        },
        "reparameterized": {
            "DoRA, r = 8": LoraConfig(r=8, use_dora=True, target_modules="all-linear"),
            "LoRA, r = 8": LoraConfig(r=8, target_modules="all-linear"),
            "VeRA, r = 64": VeraConfig(r=64, target_modules="all-linear"),
        },
    }


def family_counts() -> dict[str, dict[str, int]]:
    """What each of these trains on the base, its head untied."""
    model = untied(load_base()[0])
    return {
        family: {name: count_parameters(model, config).trainable for name, config in one.items()}
        for family, one in families().items()
    }
