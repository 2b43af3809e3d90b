"""How values travel between the grader and the sandbox: bytes that can only be numbers and text.

A message is a length (4 bytes) and a safetensors file: its arrays, and as the array "tree" a JSON
text that says where they belong. Nothing in it can name code, and what it becomes is never larger
than a few times the bytes that came: values, depth, sides and integers are bounded, and an array
that is named twice is not copied. Used on both sides of the wall; inside, this file stands alone,
so it imports nothing of minipeft.
"""

import json
import struct
import sys
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import safetensors.numpy

LENGTH = struct.Struct(">I")
LARGEST = 4 << 20  # bytes; the largest answer of any exercise is some kilobytes
LARGEST_JOB = 64 << 20  # bytes; all cells and inputs of one submission
TREE = LARGEST_JOB  # bytes of text in one message
NODES = 20_000  # values in one answer, arrays counted as one
DEPTH = 8  # lists within lists
SIDE = 1 << 24  # of an array, also of one without entries
WHOLE = 1 << 63  # integers lie below, as in every array library


class ProtocolError(ValueError):
    """A value that cannot travel, or bytes that are no message."""


@dataclass(frozen=True)
class Raised:
    """An exception in place of a value: its name, its text, and where it came from."""

    name: str
    text: str = ""
    # not compared: the built-in classes that its class derives from, the function that raised it
    bases: tuple[str, ...] = field(default=(), compare=False)
    function: str = field(default="", compare=False)

    def is_a(self, name: str) -> bool:
        """Whether `except name` would catch it."""
        return name == self.name or name in self.bases


def encode(value: object, largest: int = LARGEST) -> bytes:
    """Value -> bytes. Raises ProtocolError for all but numbers, text, arrays, lists and dicts."""
    arrays: dict[str, np.ndarray] = {}
    folder = _Folder(arrays, largest)
    tree = json.dumps(folder.fold(value)).encode()
    if folder.bytes + len(tree) > largest:
        raise ProtocolError(f"the answer is larger than {largest >> 20} MB")
    arrays["tree"] = np.frombuffer(tree, dtype=np.uint8)
    return safetensors.numpy.save(arrays)


def decode(data: bytes) -> object:
    """Bytes -> value. Raises ProtocolError, and nothing else, for whatever is no message."""
    try:
        arrays = safetensors.numpy.load(data)
        text = arrays.pop("tree").tobytes()
        if len(text) > TREE:
            raise ProtocolError("a message with too long a text")
        tree = json.loads(text)
        return _Unfolder(arrays).unfold(tree)
    except ProtocolError:
        raise
    except Exception as error:  # the bytes may come from a student: any failure is theirs
        raise ProtocolError(f"not a message: {type(error).__name__}") from error


def message(value: object, largest: int = LARGEST) -> bytes:
    """One message as it stands in a stream: length and bytes."""
    data = encode(value, largest)
    return LENGTH.pack(len(data)) + data


def send(stream: BinaryIO, value: object, largest: int = LARGEST) -> None:
    """Write one message."""
    stream.write(message(value, largest))
    stream.flush()


def receive(stream: BinaryIO, largest: int = LARGEST) -> object | None:
    """Read one message; None at the stream's end. Raises ProtocolError if it is cut or too long."""
    head = stream.read(LENGTH.size)
    if not head:
        return None
    data = stream.read(length_of(head, largest))
    if len(data) < LENGTH.unpack(head)[0]:
        raise ProtocolError("a message that ends too early")
    return decode(data)


def length_of(head: bytes, largest: int = LARGEST) -> int:
    """The length that the first bytes of a message announce. Raises ProtocolError."""
    if len(head) < LENGTH.size or LENGTH.unpack(head)[0] > 2 * largest:
        raise ProtocolError("a message with a wrong length")
    return LENGTH.unpack(head)[0]


class _Counted:
    """Counts the values of one message, and bounds them."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays, self.nodes = arrays, 0

    def enter(self, depth: int) -> None:
        self.nodes += 1
        if self.nodes > NODES:
            raise ProtocolError(f"the answer holds more than {NODES} values outside of arrays")
        if depth > DEPTH:
            raise ProtocolError("the answer is nested too deeply")


class _Folder(_Counted):
    def __init__(self, arrays: dict[str, np.ndarray], largest: int) -> None:
        super().__init__(arrays)
        self.largest, self.bytes = largest, 0

    def fold(self, value: object, depth: int = 0) -> object:
        """The JSON form of a value, its arrays put aside under their number."""
        self.enter(depth)
        if isinstance(value, int) and abs(value) >= WHOLE:
            raise ProtocolError("the answer holds an integer of more than 64 bits")
        if value is None or isinstance(value, bool | str | int | float):
            return {"plain": value}
        if isinstance(value, Raised):
            return {"raised": [value.name, value.text, list(value.bases), value.function]}
        if isinstance(value, list | tuple):
            return {"list": [self.fold(item, depth + 1) for item in value]}
        if isinstance(value, dict):
            pairs = ([str(key), self.fold(item, depth + 1)] for key, item in value.items())
            return {"dict": list(pairs)}
        number = str(len(self.arrays))
        self.arrays[number] = _as_array(value)
        self.bytes += self.arrays[number].nbytes
        if self.bytes > self.largest:
            raise ProtocolError(f"the answer is larger than {self.largest >> 20} MB")
        _checked(self.arrays[number])
        return {"array": number}


def _as_array(value: object) -> np.ndarray:
    torch = sys.modules.get("torch")  # a tensor can only exist where torch was imported
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.double() if value.is_floating_point() else value).numpy()
    if not isinstance(value, np.ndarray | np.generic):
        raise ProtocolError(f"the answer holds a {type(value).__name__}, not numbers or text")
    return np.ascontiguousarray(value).reshape(np.shape(value))


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ProtocolError(f"the answer holds an array of {array.dtype}, not of numbers")
    if array.ndim > DEPTH or max(array.shape, default=0) > SIDE:
        raise ProtocolError(f"the answer holds an array of shape {array.shape}")
    return array


class _Unfolder(_Counted):
    def unfold(self, node: dict, depth: int = 0) -> object:
        """The value that a JSON form stands for."""
        self.enter(depth)
        ((kind, content),) = node.items()
        if kind == "plain" and (content is None or isinstance(content, bool | str | int | float)):
            if isinstance(content, int) and abs(content) >= WHOLE:
                raise ProtocolError("an integer of more than 64 bits")
            return content
        if kind == "raised":
            name, text, bases, function = content
            bases = tuple(str(base)[:100] for base in bases[:20])
            return Raised(str(name)[:100], str(text)[:300], bases, str(function)[:100])
        if kind == "list":
            return [self.unfold(item, depth + 1) for item in content]
        if kind == "dict":
            return {str(key): self.unfold(item, depth + 1) for key, item in content}
        if kind == "array":
            return _checked(self.arrays[content])
        raise ProtocolError(f"an unknown kind of value: {str(kind)[:50]!r}")
