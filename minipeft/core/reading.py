"""Reading a JSON object from a file, with one clear error for each way in which that fails."""

import json
from pathlib import Path
from typing import Any


def read_json(path: str | Path, name: str = "config.json") -> dict[str, Any]:
    """The object in a JSON file, or in the file called `name` of a folder.

    Raises FileNotFoundError where there is none, ValueError where it holds no JSON object.
    """
    path = Path(path)
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
