"""How values travel between the grader and the sandbox: bytes that can only be numbers and text.

A message is a length (4 bytes) and a safetensors file: its arrays, and as the array "tree" a JSON
text that says where they belong. Nothing in it can name code, so it is safe to read from a student.
Used on both sides of the wall; inside, this file stands alone, so it imports nothing of minipeft.
"""

import json
import struct
import sys
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import safetensors.numpy

LENGTH = struct.Struct(">I")
LARGEST = 4 << 20  # bytes; the largest answer of any exercise is some kilobytes
LARGEST_JOB = 64 << 20  # bytes; all cells and inputs of one submission


class ProtocolError(ValueError):
    """A value that cannot travel, or bytes that are no message."""


@dataclass(frozen=True)
class Raised:
    """An exception in place of a value: only its name and text travel."""

    name: str
    text: str = ""


def encode(value: object, largest: int = LARGEST) -> bytes:
    """Value -> bytes. Raises ProtocolError for all but numbers, text, arrays, lists and dicts."""
    arrays: dict[str, np.ndarray] = {}
    tree = json.dumps(_fold(value, arrays, depth=0)).encode()
    if sum(array.nbytes for array in arrays.values()) + len(tree) > largest:
        raise ProtocolError(f"the answer is larger than {largest >> 20} MB")
    arrays["tree"] = np.frombuffer(tree, dtype=np.uint8)
    return safetensors.numpy.save(arrays)


def decode(data: bytes) -> object:
    """Bytes -> value. Raises ProtocolError, and nothing else, for whatever is no message."""
    try:
        arrays = safetensors.numpy.load(data)
        return _unfold(json.loads(arrays.pop("tree").tobytes()), arrays)
    except Exception as error:  # the bytes may come from a student: any failure is theirs
        raise ProtocolError(f"not a message: {type(error).__name__}") from error


def send(stream: BinaryIO, value: object, largest: int = LARGEST) -> None:
    """Write one message."""
    data = encode(value, largest)
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO, largest: int = LARGEST) -> object | None:
    """Read one message; None at the stream's end. Raises ProtocolError if it is cut or too long."""
    head = stream.read(LENGTH.size)
    if not head:
        return None
    if len(head) < LENGTH.size or LENGTH.unpack(head)[0] > 2 * largest:
        raise ProtocolError("a message with a wrong length")
    length = LENGTH.unpack(head)[0]
    data = stream.read(length)
    if len(data) < length:
        raise ProtocolError("a message that ends too early")
    return decode(data)


def _fold(value: object, arrays: dict[str, np.ndarray], depth: int) -> object:
    """The JSON form of a value, its arrays put aside under their number."""
    if depth > 8:
        raise ProtocolError("the answer is nested too deeply")
    if value is None or isinstance(value, bool | str | int | float):
        return {"plain": value}
    if isinstance(value, Raised):
        return {"raised": [value.name, value.text]}
    if isinstance(value, list | tuple):
        return {"list": [_fold(item, arrays, depth + 1) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[str(key), _fold(item, arrays, depth + 1)] for key, item in value.items()]}
    array = _as_array(value)
    arrays[str(len(arrays))] = array
    return {"array": str(len(arrays) - 1)}


def _as_array(value: object) -> np.ndarray:
    torch = sys.modules.get("torch")  # a tensor can only exist where torch was imported
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.double() if value.is_floating_point() else value).numpy()
    if not isinstance(value, np.ndarray | np.generic):
        raise ProtocolError(f"the answer holds a {type(value).__name__}, not numbers or text")
    array = np.ascontiguousarray(value).reshape(np.shape(value))
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ProtocolError(f"the answer holds an array of {array.dtype}, not of numbers")
    return array


def _unfold(node: dict, arrays: dict[str, np.ndarray]) -> object:
    ((kind, content),) = node.items()
    if kind == "plain" and (content is None or isinstance(content, bool | str | int | float)):
        return content
    if kind == "raised":
        name, text = content
        return Raised(str(name), str(text))
    if kind == "list":
        return [_unfold(item, arrays) for item in content]
    if kind == "dict":
        return {str(key): _unfold(item, arrays) for key, item in content}
    if kind == "array":
        return arrays[content]
    raise ProtocolError(f"an unknown kind of value: {kind!r}")
