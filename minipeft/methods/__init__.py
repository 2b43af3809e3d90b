"""One paper, one file. `METHODS` is the register: a new method is a new file and one line here."""

from minipeft.methods.lora import LoraConfig

METHODS = {config.peft_type: config for config in (LoraConfig,)}
