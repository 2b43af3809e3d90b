"""What to propose where full fine-tuning takes too much."""

from minipeft.methods.lora import LoraConfig

USUAL_NAME = "LoRA (r=16, all linear layers)"
USUAL = LoraConfig(r=16, target_modules="all-linear")
