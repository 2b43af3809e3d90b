"""The methods that every comparison of the course carries along, each on a fresh base.

Full fine-tuning, three cheap baselines that train some of the base's own numbers, and LoRA as the
lessons use it. The cheap ones are those of Houlsby et al. 2019 ("Parameter-Efficient Transfer
Learning for NLP", section 3.4: the top layers, the norms) and the linear probe (the head).
"""

from dataclasses import replace

from torch import nn

from minipeft.core.errors import nearest
from minipeft.course.base import load_base
from minipeft.methods.lora import LoraConfig
from minipeft.methods.partial import PartialConfig
from minipeft.model import get_peft_model

BASELINES = ("full", "last block", "head", "norms")
METHODS = ("lora", *BASELINES)


def baseline(method: str) -> nn.Module:
    """A fresh base with this method on it; the numbers that it trains require a gradient.

    method: "full"; "last block", its norms too; "head", the matrix that gives the logits, in a
        copy of its own (`untied`); "norms", the scale vectors of all norms; or "lora" (r = 8,
        alpha = 16, all linear layers).

    Raises:
        ValueError: there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"no baseline is called {method!r}; {nearest(method, METHODS)}")
    model, _ = load_base()
    if method == "full":
        return model
    configs = {
        "last block": PartialConfig(last_layers=1),
        "head": PartialConfig(modules_to_save=["lm_head"]),
        "norms": PartialConfig(norms=True),
        "lora": LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"),
    }
    return get_peft_model(untied(model) if method == "head" else model, configs[method])


def untied(model: nn.Module) -> nn.Module:
    """The same model with a head of its own: in place, equal numbers, no longer the embeddings'.

    The base ties both: one matrix reads tokens at the input and scores them at the output. Who
    trains the tied matrix trains the input too, and then the head is not the last layer alone.
    """
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    model.config = replace(model.config, tie_word_embeddings=False)
    return model
