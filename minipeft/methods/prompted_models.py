"""Models that read a soft prompt: their caches, their ways to generate, their padding.

P is in the cache and in no text. Code that counts the cache's entries as tokens goes wrong with P,
and is refused.
"""

import copy
import inspect
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from minipeft.models.cache import empty_cache

# Options of transformers' generate(): a text in chunks, guessed tokens, caches of a fixed length.
COUNTING_OPTIONS = (
    "prefill_chunk_size",
    "assistant_model",
    "prompt_lookup_num_tokens",
    "assistant_early_exit",
    "cache_implementation",
    "custom_generate",
)


def check_cache(cache: Any) -> None:
    """Raise ValueError for a cache whose length was fixed without P."""
    if getattr(cache, "is_compileable", False):
        raise ValueError(
            f"past_key_values is a {type(cache).__name__}, whose length is fixed: there is no "
            "place for a soft prompt in it; choose DynamicCache, or None"
        )


def check_generation(model: nn.Module, options: dict[str, Any]) -> None:
    """Raise ValueError for a way to generate that counts the cache's entries as tokens.

    There are n more of them, and tokens would be skipped or put into another's place.
    """
    settings = options.get("generation_config") or getattr(model, "generation_config", None)
    for name in COUNTING_OPTIONS:
        if value := options.get(name, getattr(settings, name, None)):
            raise ValueError(
                f"{name}={value if isinstance(value, int | str) else type(value).__name__} "
                "goes wrong with a soft prompt, which is in the cache and in no text; leave it "
                "out, or choose LORA"
            )
    cache = options.get("past_key_values")
    check_cache(cache)
    if cache is not None and cache.get_seq_length() > 0:
        raise ValueError(
            f"past_key_values holds {cache.get_seq_length()} entries, the soft prompt's among "
            "them, which generate() would take for tokens: give the whole text and no cache"
        )


def check_keeps_its_cache(model: nn.Module) -> None:
    """Raise RuntimeError where the model would drop the cache, and the prefix with it."""
    if hasattr(model, "new_cache"):
        return
    if any(m.training and getattr(m, "gradient_checkpointing", False) for m in model.modules()):
        raise RuntimeError(
            "gradient checkpointing: in training, transformers then drops the cache that the "
            "prefix is in; call gradient_checkpointing_disable(), or choose prompt tuning"
        )


def key_value_sizes(model: nn.Module) -> list[tuple[int, int, int, int]] | None:
    """(heads, width) of each layer's keys and values, as a call of the model puts them in a cache.

    A copy on fake tensors is called. None where that fails.
    """
    cache = empty_cache(model)
    if cache is None or hasattr(model, "new_cache"):
        return None
    mode = FakeTensorMode()
    try:
        fakes = {id(b): mode.from_tensor(b) for b in model.buffers()}
        for parameter in model.parameters():
            fakes[id(parameter)] = nn.Parameter(mode.from_tensor(parameter.detach()), False)
        copied = copy.deepcopy(model, fakes).eval()
        with mode, torch.no_grad():
            copied(torch.zeros(1, 1, dtype=torch.long), past_key_values=cache)
        layers = [(layer.keys.shape, layer.values.shape) for layer in cache.layers]
    except Exception:  # code of others may raise anything on fake tensors
        return None
    return [(keys[1], keys[-1], values[1], values[-1]) for keys, values in layers]


def pools_at_padding(module: nn.Module) -> bool:
    """Whether a classifier reads each text's last token, the one before the padding."""
    try:
        return "pad_token_id" in inspect.getsource(inspect.unwrap(type(module).forward))
    except (OSError, TypeError):  # a class without a source file
        return False


def above(path: str) -> list[str]:
    """The names of the modules around the one called `path`, the model itself ("") first."""
    parts = path.split(".") if path else []
    return [".".join(parts[:length]) for length in range(len(parts))]
