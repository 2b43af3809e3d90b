"""What the set-up tests read: the repository's folder, pyproject.toml, the pinned versions."""

import tomllib
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


def requirements(*extras: str) -> list[Requirement]:
    """The framework's own requirements and those of `extras`."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def pinned_versions() -> dict[str, str]:
    """Canonical name -> version, for each line of constraints.txt."""
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[canonicalize_name(name)] = version
    return pins


def needs(distribution: Distribution) -> list[Requirement]:
    """What an installed distribution requires on this system, its extras left out."""
    found = [Requirement(line) for line in distribution.requires or []]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]
