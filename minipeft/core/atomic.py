"""Writes that are whole or not at all: a full disk or a killed process leaves the old files."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path


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
