"""The run log: what must be written down of a training, and whether it still holds.

An adapter's file says neither which base it was trained on nor what it learned from. A log with
fingerprints does: the base's numbers, the adapter's and the data's, each as one short word.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minipeft import PeftModel, get_peft_model_state_dict
from minipeft.core.disk import atomic_write, read_json
from minipeft.course.batches import Batch

LIBRARIES = ("minipeft", "torch", "safetensors")
LETTERS = 16  # of a SHA-256: 64 bits, enough to tell two of anything apart


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A word that changes with any name, shape, dtype or number; not with their order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:LETTERS]


def of_base(model: PeftModel) -> str:
    """The fingerprint of the bare base under a PeftModel."""
    with model.disable_adapter():
        return fingerprint(model.get_base_model().state_dict())


def of_adapter(model: PeftModel, name: str) -> str:
    """The fingerprint of an adapter's tensors, under their names in a file."""
    return fingerprint(get_peft_model_state_dict(model, adapter_name=name))


def of_data(batches: Iterable[Batch]) -> str:
    """The fingerprint of what was trained on, in its order."""
    parts = {}
    for number, (input_ids, labels) in enumerate(batches):
        parts |= {f"{number:06} input_ids": input_ids, f"{number:06} labels": labels}
    return fingerprint(parts)


def run_log(model: PeftModel, name: str, batches: Iterable[Batch], **told: Any) -> dict[str, Any]:
    """What to keep of a training beside the adapter's file.

    name: the adapter. batches: what it was trained on. told: what only the author knows, such as
    seed, steps, learning_rate, losses; anything that JSON can hold.
    Raises ValueError for an unknown adapter, TypeError for what JSON can't hold.
    """
    word = of_adapter(model, name)
    config = model.peft_config[name].to_dict()
    log = {
        "adapter": {"name": name, "fingerprint": word, "config": config},
        "base": {"fingerprint": of_base(model), "name": config.get("base_model_name_or_path")},
        "data": {"fingerprint": of_data(batches)},
        "told": told,
        "versions": {library: version(library) for library in LIBRARIES}
        | {"python": platform.python_version()},
    }
    return json.loads(json.dumps(log))


def write_run_log(path: str | Path, log: Mapping[str, Any]) -> None:
    """Write a log as JSON, whole or not at all. Raises OSError."""
    atomic_write(path, (json.dumps(log, indent=2, sort_keys=True) + "\n").encode())


def broken_promises(log: Mapping[str, Any] | str | Path, model: PeftModel, name: str) -> list[str]:
    """What of a log is not true of this model: "base", "adapter", both or nothing.

    Raises FileNotFoundError, and ValueError for what is no JSON or an unknown adapter.
    """
    log = log if isinstance(log, Mapping) else read_json(log)
    found = {"base": of_base(model), "adapter": of_adapter(model, name)}
    return [part for part, word in found.items() if log[part]["fingerprint"] != word]
