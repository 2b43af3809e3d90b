"""An entry: an adapter folder in peft's format, read once, with everything refused that cheats.

What counts is the file. Each number of each tensor in it is one trained number: zeros, copies and
tensors that no layer reads too, since a file of fewer numbers would have served. What is not a
number of the file must not carry any: no seed that was searched for, no code, no further file.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from minipeft.core.config import CONFIG, METHODS, PeftConfig
from minipeft.core.errors import check_choice, nearest
from minipeft.interop.files import WEIGHTS

FILES = (WEIGHTS, CONFIG)
UNREAD = "README.md"  # peft writes one; nobody reads it
FORMATS = ("BF16", "F16", "F32", "F8_E4M3", "F8_E5M2")
LARGEST = 64 << 20  # bytes
OURS = "minipeft.methods."


class Refused(ValueError):
    """An entry that is against the rules; the message names the thing, its value, what is allowed.

    In a notebook only the message shows, no traceback.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"Refused: {self}"]


@dataclass(frozen=True)
class Entry:
    """What is in a folder.

    numbers: of all tensors together. bytes: of the two files. digest: of their contents, 16
    hexadecimal digits.
    """

    config: PeftConfig
    tensors: dict[str, Tensor]
    numbers: int
    bytes: int
    digest: str


def read_entry(folder: str | Path) -> Entry:
    """The entry in a folder. Raises Refused for whatever is against the rules."""
    return entry_of(read_files(Path(folder)))


def entry_of(contents: Mapping[str, bytes]) -> Entry:
    """The entry that these two files are. Raises as `read_entry`."""
    config, tensors = read_method(contents[CONFIG]), read_numbers(contents[WEIGHTS])
    return Entry(
        config=config,
        tensors=tensors,
        numbers=sum(tensor.numel() for tensor in tensors.values()),
        bytes=sum(map(len, contents.values())),
        digest=hashlib.sha256(b"\0".join(contents[name] for name in FILES)).hexdigest()[:16],
    )


def read_files(folder: Path, beside: Sequence[str] = (UNREAD,)) -> dict[str, bytes]:
    """The two files of an entry. Raises Refused for others in its folder than those `beside`."""
    if not folder.is_dir():
        raise Refused(f"there is no folder {folder.name!r}; hand in the folder of an adapter")
    found = {path.name: path for path in folder.iterdir()}
    for name, path in sorted(found.items()):
        if name not in (*FILES, *beside):
            raise Refused(f"the folder holds {name!r}; allowed are {', '.join(FILES)}")
        if path.is_symlink() or not path.is_file():
            raise Refused(f"{name} is a link or a folder; allowed is a file")
        if path.stat().st_size > LARGEST:
            raise Refused(f"{name} has {path.stat().st_size:,} bytes; the most is {LARGEST:,}")
    for name in FILES:
        if name not in found:
            raise Refused(f"the folder lacks {name!r}; {nearest(name, found)}")
    return {name: found[name].read_bytes() for name in FILES}


def read_method(data: bytes) -> PeftConfig:
    """The config of an entry: one of the package's methods, without a seed that was searched."""
    try:
        fields = json.loads(data)
        if not isinstance(fields, dict):
            raise ValueError(f"it holds a {type(fields).__name__}, allowed is an object")
        check_choice("peft_type", fields.get("peft_type"), sorted(METHODS))
        config = METHODS[fields["peft_type"]].from_dict(fields | {"inference_mode": True})
    except (TypeError, ValueError) as error:
        raise Refused(f"{CONFIG} can't be read: {error}") from error
    kind = type(config)
    if not kind.__module__.startswith(OURS):
        raise Refused(
            f"peft_type {kind.peft_type!r} is a method of your own, whose code could hold numbers; "
            "allowed are the methods of the package"
        )
    key = getattr(config, "projection_prng_key", 0)
    if key:
        raise Refused(
            f"projection_prng_key={key}: a seed that was searched for carries what no number in "
            "the file shows; allowed is 0"
        )
    return config


def read_numbers(data: bytes) -> dict[str, Tensor]:
    """The tensors of a file: finite numbers of at most 32 bits, at least one."""
    try:
        held = safetensors.deserialize(data)
    except SafetensorError as error:
        raise Refused(f"{WEIGHTS} is damaged or not safetensors: {error}") from error
    for name, about in sorted(held, key=lambda one: one[0]):
        if about["dtype"] not in FORMATS:
            raise Refused(f"{name} is stored as {about['dtype']}; allowed are {', '.join(FORMATS)}")
    tensors = safetensors.torch.load(data)
    for name, tensor in sorted(tensors.items()):
        bad = tensor.float()[~torch.isfinite(tensor.float())]
        if bad.numel():
            raise Refused(
                f"{name} holds {bad[0].item()} ({bad.numel()} in all); allowed are finite numbers"
            )
    if not any(tensor.numel() for tensor in tensors.values()):
        raise Refused(f"{WEIGHTS} holds 0 numbers; an entry trains at least 1")
    return tensors
