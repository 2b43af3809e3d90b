"""Weights from a Hugging Face folder into a model: every name and every shape must fit."""

import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from minipeft.core.errors import nearest

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHOWN = 3  # how many of a long list of wrong names an error names


def load_weights(
    model: nn.Module,
    folder,
    dtype: torch.dtype = torch.float32,
    ready: Callable[[str, nn.Module], nn.Module] | None = None,
) -> None:
    """Put a folder's tensors into `model`, converted to `dtype`, one after the other.

    All names and shapes are compared before the first tensor is read.

    Args:
        ready: called with the name of a module and the module, once all its own tensors are there;
            what it gives back takes the module's place.

    Raises:
        FileNotFoundError: no weights, or a shard is missing.
        ValueError: a file is damaged, or a name or a shape does not fit the model.
    """
    stored = stored_tensors(folder)
    wanted = {name: t.shape for name, t in model.state_dict().items()}
    if model.config.tie_word_embeddings:  # the caller ties it again
        wanted.pop("lm_head.weight")
        stored.pop("lm_head.weight", None)  # some checkpoints store the shared tensor twice
    # Early Llama checkpoints carry the rotary frequencies, which follow from the config.
    stored = {name: t for name, t in stored.items() if not name.endswith("rotary_emb.inv_freq")}
    check_names_and_shapes(wanted, stored)
    for name, tensor in stored.items():
        path, _, own = name.rpartition(".")
        module = model.get_submodule(path)
        module.load_state_dict({own: tensor.read(dtype)}, strict=False, assign=True)
        if ready is not None and not any(p.is_meta for p in module.parameters(recurse=False)):
            model.set_submodule(path, ready(path, module))


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, of which no more than the shape has been read."""

    file: Path
    name: str
    shape: torch.Size

    def read(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The tensor in memory of its own; the file is closed again."""
        with opened(self.file) as tensors:
            return tensors.get_tensor(self.name).to(dtype, copy=True)


def stored_tensors(folder) -> dict[str, StoredTensor]:
    """All tensors of a checkpoint folder by name. Raises as `load_weights`."""
    stored = {}
    for file in weight_files(Path(folder)):
        with opened(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118 - no dict
                shape = torch.Size(tensors.get_slice(name).get_shape())
                stored[name] = StoredTensor(file, name, shape)
    return stored


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


@contextmanager
def opened(file: Path):
    """A safetensors file, with an error that names it when it is damaged."""
    try:
        with safe_open(file, "pt") as tensors:
            yield tensors
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
