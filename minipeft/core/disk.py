"""Files: a JSON object read with one clear error, and writes that are whole or not at all."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_json(source: dict[str, Any] | str | Path, name: str = "config.json") -> dict[str, Any]:
    """The object in a JSON file, or in the file called `name` of a folder; a dict is that object.

    Raises FileNotFoundError where there is none, ValueError where it holds no JSON object.
    """
    if isinstance(source, dict):
        return source
    path = Path(source)
    path = path / name if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give a folder that holds {name}, or the file")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # broken JSON, or bytes that are not UTF-8
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path} should hold a JSON object, but holds a {type(fields).__name__}")
    return fields


def atomic_write(path: str | Path, data: bytes) -> None:
    """Replace `path` by `data` in one step. Raises OSError, the old file then being untouched."""
    atomic_write_all({Path(path): data})


def atomic_write_all(files: Mapping[Path, bytes]) -> None:
    """Replace several files that belong together (weights and their config).

    All of them are on the disk under temporary names before the first is renamed, so that the
    moment in which old and new stand side by side is that of a few renames.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            staged[path] = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
            with staged[path].open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # the bytes must be on the disk before their name is
        for path, temporary in staged.items():
            temporary.replace(path)
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)
