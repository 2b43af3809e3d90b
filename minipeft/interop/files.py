"""Adapter folders in Hugging Face peft's layout.

A folder holds `adapter_config.json` and `adapter_model.safetensors`.
Each tensor is called `base_model.model.<path in the base>.<name in the tuner>`, or
`prompt_embeddings`; the adapter's own name isn't in the file. The adapter named "default" lies in
the folder itself, any other in a subfolder of its name.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from minipeft.core.adapter import Adapter
from minipeft.core.config import CONFIG, PeftConfig, read_config
from minipeft.core.disk import atomic_write_all

WEIGHTS = "adapter_model.safetensors"
SHORT = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "bool": "BOOL"}
SHORT |= {"int64": "I64", "int32": "I32", "uint8": "U8"}  # safetensors' words for torch's
# With bias="all" peft also writes what its wrapper holds around a module of modules_to_save: the
# bias before training, and the trained one a second time. Nothing reads them. A base's own module
# of such a name has no second key without it.
UNREAD = (".original_module.", ".modules_to_save.")


def check_name(name: object) -> None:
    """Raise ValueError unless `name` can be an adapter's name, and so a folder's."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name) or name == "__base__":
        raise ValueError(
            f"adapter_name={name!r} must be letters, digits, '_' and '-': it names a folder "
            "('__base__' means the bare base); choose from: 'default', 'my_task'"
        )


def save_adapters(
    adapters: dict[str, Adapter],
    folder: str | Path,
    tensors_by_adapter: dict[str, dict[str, Tensor]],
) -> None:
    """Write each adapter's two files.

    Raises OSError, and ValueError for offloaded tensors; the old files are whole then.
    """
    files: dict[Path, bytes] = {}
    for name, adapter in adapters.items():
        place = Path(folder) if name == "default" else Path(folder) / name
        held = tensors_by_adapter[name]
        if offloaded := [key for key, tensor in held.items() if tensor.is_meta]:
            raise ValueError(
                f"{offloaded[0]} of adapter {name!r} is on the device 'meta' (offloaded, or never "
                "loaded): there are no numbers to save; bring the model back to a device first"
            )
        tensors = {
            key: tensor.cpu().contiguous().clone()  # clone: no two may share storage
            for key, tensor in held.items()
        }
        files[place / WEIGHTS] = safetensors.torch.save(tensors, metadata={"format": "pt"})
        files[place / CONFIG] = adapter.config.to_json(inference_mode=True).encode()
    atomic_write_all(files)


def read_adapter(
    folder: str | Path, is_trainable: bool = False
) -> tuple[PeftConfig, dict[str, Tensor]]:
    """An adapter folder's config and tensors, to be frozen unless `is_trainable`.

    Raises as `read_config` and `read_tensors` do.
    """
    return read_config(folder, inference_mode=not is_trainable), read_tensors(folder)


def read_tensors(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of an adapter folder. Raises as `read_config`."""
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        pickled = path.with_name("adapter_model.bin").is_file()
        hint = "adapter_model.bin is a pickle, which can run code: convert it" if pickled else ""
        raise FileNotFoundError(f"{path} is missing. {hint}".rstrip())
    try:
        tensors = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not safetensors: {error}") from error
    return {
        key: tensor
        for key, tensor in tensors.items()
        if not any(wrapper in key and key.replace(wrapper, ".") in tensors for wrapper in UNREAD)
    }


def file_bytes(tensors: Mapping[str, Tensor]) -> int:
    """The size of a safetensors file with these tensors: a header and the data.

    Widest dtype first, then by name, as the library writes them; the header is padded to 8 bytes.
    """
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.itemsize
        about = {"dtype": SHORT[str(tensor.dtype)[6:]], "shape": list(tensor.shape)}
        header[name] = about | {"data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return 8 + 8 * math.ceil(len(text) / 8) + end
