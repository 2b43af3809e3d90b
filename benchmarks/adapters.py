"""The same adapters in both libraries: peft makes and saves them, minipeft reads their folders."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import torch
from torch import nn

import minipeft
from benchmarks.models import LINEAR

# Random numbers everywhere, so that nothing is skipped or equal by way of a zero.
LORA = {"r": 8, "lora_alpha": 16, "target_modules": LINEAR, "init_lora_weights": False}
Bases = Callable[[], tuple[nn.Module, nn.Module]]


def pair(bases: Bases, config: str = "LoraConfig", **options: Any) -> tuple[nn.Module, nn.Module]:
    """The same adapter on two equal bases, to be trained: minipeft's model and peft's.

    config: the name that both libraries give to the class of `options`.
    """
    our_base, their_base = bases()
    torch.manual_seed(2)
    with saved() as folder:
        made = getattr(peft, config)(task_type="CAUSAL_LM", **options)
        theirs = peft.get_peft_model(their_base, made)
        theirs.save_pretrained(folder)
        return minipeft.PeftModel.from_pretrained(our_base, folder, is_trainable=True), theirs


def several(bases: Bases, names: list[str], **options: Any) -> tuple[nn.Module, nn.Module]:
    """Several LoRA adapters on two equal bases, the first in force: minipeft's model and peft's."""
    our_base, their_base = bases()
    torch.manual_seed(2)
    with saved() as folder:
        theirs = peft.get_peft_model(their_base, peft.LoraConfig(**options), names[0])
        for name in names[1:]:
            theirs.add_adapter(name, peft.LoraConfig(**options))
        theirs.save_pretrained(folder)
        ours = minipeft.PeftModel.from_pretrained(our_base, folder / names[0], names[0])
        for name in names[1:]:
            ours.load_adapter(folder / name, name)
    return ours.eval(), theirs.eval()


@contextmanager
def saved() -> Iterator[Path]:
    """A folder for a moment, and no warnings about a base without a name."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        yield Path(folder)
