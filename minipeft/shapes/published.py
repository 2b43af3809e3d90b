"""Published models by name, and which architecture is meant by a name, a config or a model."""

import tomllib
from pathlib import Path
from typing import Any

from torch import nn

from minipeft.core.errors import nearest
from minipeft.shapes.architectures import Architecture


class Published(dict[str, Architecture]):
    """A dictionary that reads "GPT-2 medium" as "gpt2-medium", and names the nearest otherwise."""

    def __missing__(self, name: str) -> Architecture:
        for known in self:
            if plain(known) == plain(name):
                return self[known]
        raise ValueError(f"model {name!r} is not known; {nearest(name, self)}")


def plain(name: str) -> str:
    """A name's letters and digits alone."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


SIZES = tomllib.loads(Path(__file__).with_name("published.toml").read_text("utf-8"))
ARCHITECTURES = Published(
    {name: Architecture.from_config(fields) for name, fields in SIZES.items()}
)


def find_architecture(wanted: object) -> Architecture:
    """The architecture that is meant: one already, a name, a config as a dict or file, or a model.

    Raises ValueError for a name, a family or a size that isn't known, FileNotFoundError for a file
    that isn't there.
    """
    if isinstance(wanted, Architecture):
        return wanted
    if isinstance(wanted, nn.Module):
        fields = config_of(wanted).to_dict()
        return Architecture.from_config(fields | {"architectures": [type(wanted).__name__]})
    if isinstance(wanted, dict | Path):
        return Architecture.from_config(wanted)
    name = str(wanted)
    named = plain(name) in map(plain, ARCHITECTURES)  # a name goes before a folder called so
    if name and not named and (name.endswith(".json") or Path(name).exists()):
        return Architecture.from_config(name)
    return ARCHITECTURES[name]


def config_of(model: nn.Module) -> Any:
    """The config of a model. Raises ValueError for a model that has none."""
    config = getattr(model, "config", None)
    if not hasattr(config, "to_dict"):
        raise ValueError(
            f"{type(model).__name__} has no config that says its architecture; give an "
            "Architecture, or a name such as 'llama-7b'"
        )
    return config
