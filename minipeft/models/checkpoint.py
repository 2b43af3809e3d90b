"""Weights from a Hugging Face folder into a model: every name and every shape must fit."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.overrides import TorchFunctionMode

from minipeft.errors import nearest

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHOWN = 3  # how many of a long list of wrong names an error names


class WithoutInitialization(TorchFunctionMode):
    """Within it, modules are built without drawing weights that are about to be replaced."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Leave a tensor as it is where torch.nn.init would fill it."""
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def load_weights(model: nn.Module, folder, dtype: torch.dtype = torch.float32) -> None:
    """Put a folder's tensors into `model`, converted to `dtype`; all of them or none.

    Raises:
        FileNotFoundError: no weights, or a shard is missing.
        ValueError: a file is damaged, or a name or a shape does not fit the model.
    """
    tensors = read_weights(folder)
    tied = model.config.tie_word_embeddings
    wanted = {name: t.shape for name, t in model.state_dict().items()}
    if tied:
        wanted.pop("lm_head.weight")
        tensors.pop("lm_head.weight", None)  # some checkpoints store the shared tensor twice
    # Early Llama checkpoints carry the rotary frequencies, which follow from the config.
    tensors = {name: t for name, t in tensors.items() if not name.endswith("rotary_emb.inv_freq")}
    check_names_and_shapes(wanted, tensors)
    converted = {name: t.to(dtype) for name, t in tensors.items()}
    # strict=False only for the tied output layer, which the caller ties again.
    model.load_state_dict(converted, strict=not tied, assign=True)


def read_weights(folder) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint folder by name. Raises as `load_weights`."""
    tensors = {}
    for file in weight_files(Path(folder)):
        tensors.update(read_safetensors(file))
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up a checkpoint, in a fixed order."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no model folder at {folder}")
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(f"{folder} holds neither {SINGLE} nor {INDEX}")
    try:
        names = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{folder / INDEX} is not a safetensors index") from None
    for name in sorted(names):
        if Path(name).name != name:
            raise ValueError(f"{folder / INDEX} names a shard outside the folder: {name!r}")
        if not (folder / name).is_file():
            raise FileNotFoundError(f"shard {name} is named in {INDEX} but missing from {folder}")
    return [folder / name for name in sorted(names)]


def read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    """All tensors of one file, with an error that names the file when it is damaged."""
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged or not a safetensors file: {error}") from None


def check_names_and_shapes(wanted: dict, tensors: dict) -> None:
    """Raise unless the tensors are exactly the model's, each in the model's shape."""
    missing = sorted(wanted.keys() - tensors.keys())
    if missing:
        raise ValueError(
            f"the checkpoint lacks {len(missing)} of the model's tensors: {_some(missing)}"
        )
    foreign = sorted(tensors.keys() - wanted.keys())
    if foreign:
        raise ValueError(
            f"the checkpoint holds {len(foreign)} tensors that the model does not have: "
            f"{_some(foreign)}; {nearest(foreign[0], sorted(wanted))}"
        )
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensors[name].shape)} in the checkpoint, but "
                f"{tuple(shape)} by config.json"
            )


def _some(names: list[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
