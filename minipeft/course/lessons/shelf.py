"""What lesson 13 does with adapters on one base: add, run alone, rename, read with another's cache.

And the base as a class of transformers, for peft to put its adapters on.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from importlib import resources
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minipeft import PeftConfig, PeftModel, get_peft_model
from minipeft.course.base import DATA, load_base
from minipeft.course.batches import IGNORED, Batch
from minipeft.course.lessons.merging import Bench
from minipeft.models.cache import KeyValueCache
from minipeft.several.mixed import BASE


def with_adapter(model: PeftModel | None, name: str, config: PeftConfig) -> PeftModel:
    """The model with a new adapter of this name, which is active; None means a fresh base."""
    if model is None:
        return get_peft_model(load_base()[0], config, name)
    model.add_adapter(name, config)
    model.set_adapter(name)
    return model


@torch.no_grad()
def alone(model: PeftModel, input_ids: Tensor, name: str) -> Tensor:
    """Logits (batch, length, vocabulary) of a pass through one adapter, or through BASE.

    The adapter that was active is active again.
    """
    active = model.active_adapter
    if name != BASE:
        model.set_adapter(name)
    with model.disable_adapter() if name == BASE else nullcontext():
        logits = model(input_ids)
    model.set_adapter(active)
    return logits


def losses_on(benches: Mapping[str, Bench], network: nn.Module) -> dict[str, float]:
    """Loss above the floor on the task of each bench, and on the base's "own world"."""
    found = {name: bench.learned(network) for name, bench in benches.items()}
    return found | {"own world": next(iter(benches.values())).losses(network)[1]}


def exchanged(tensors: Mapping[str, Tensor], one: str, other: str) -> dict[str, Tensor]:
    """The tensors of a file in which two parts of their names have changed places.

    one, other: parts of names, such as "layers.0." and "layers.1.". Names with neither stay.
    """
    swaps = {one: other, other: one}
    found = {}
    for name, tensor in tensors.items():
        part = next((part for part in swaps if part in name), None)
        found[name.replace(part, swaps[part]) if part else name] = tensor
    return found


@torch.no_grad()
def answer_loss(model: PeftModel, batch: Batch, split: int, reader: str | None = None) -> float:
    """Nats per token of what comes after the first `split` tokens, read through a cache.

    reader: the adapter under which those first tokens were read, BASE for none; the active one
    where it is None. What comes after is always read under the active adapter.
    """
    cache, active = KeyValueCache(), model.active_adapter
    if reader not in (None, BASE):
        model.set_adapter(reader)
    with model.disable_adapter() if reader == BASE else nullcontext():
        model(batch.input_ids[:, :split], past_key_values=cache)
    model.set_adapter(active)
    logits = model(batch.input_ids[:, split:], past_key_values=cache)
    return loss_after(logits, batch.labels, split)


def loss_after(logits: Tensor, labels: Tensor, split: int) -> float:
    """Nats per token: logits (batch, length - split, vocabulary) on labels (batch, length)."""
    wanted = labels[:, split + 1 :].flatten()
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), wanted, ignore_index=IGNORED).item()


def base_as(kind: Any, more_tokens: int = 0) -> Any:
    """The course's base as a class of transformers, with rows for this many new tokens.

    kind: LlamaForCausalLM of transformers.
    """
    with resources.as_file(DATA) as folder:
        llama = kind.from_pretrained(folder).eval()
    if more_tokens:
        rows = llama.config.vocab_size + more_tokens
        llama.resize_token_embeddings(rows, mean_resizing=False)
    return llama
