"""pyproject.toml, constraints.txt and environment.yml say the same, and the code agrees."""

import ast
import re
import sys
from importlib.metadata import distributions, packages_distributions

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from .project import PROJECT, PYPROJECT, ROOT, needs, pinned_versions, requirements

GPU_ONLY = ("nvidia", "triton", "cuda")  # what torch's CUDA build brings along
OWN = {"minipeft", "tests", "scripts", "benchmarks", "offline_guard"}


def test_every_dependency_has_its_reason():
    """A comment ends each requirement's line."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in requirements("lab", "test"):
        line = re.search(rf'^ *"{requirement.name}[^a-z-].*$', text, re.MULTILINE).group()
        assert re.search(r'",\s*# .*\w', line), f"no reason beside {line.strip()}"


@pytest.mark.parametrize("requirement", requirements("lab", "test"), ids=lambda r: r.name)
def test_the_pinned_version_is_in_range(requirement):
    version = pinned_versions()[canonicalize_name(requirement.name)]
    assert version in requirement.specifier


def test_torch_is_the_tested_one():
    assert pinned_versions()["torch"] == "2.13.0"


def test_pins_hold_on_every_system():
    """No build of one system: no "+cpu", no CUDA library, no path, no hash."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    for line in (line for line in lines if not line.startswith("#")):
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", line), line
        assert not line.startswith(GPU_ONLY), line


@pytest.mark.skipif(sys.platform != "linux", reason="the pins name what Linux installs")
def test_pins_are_complete():
    """What a pinned version needs is pinned too, or pip would choose its version by the day."""
    pins = pinned_versions()
    for distribution in distributions():
        installed = distribution.version.partition("+")[0]
        if pins.get(canonicalize_name(distribution.metadata["Name"])) != installed:
            continue  # the weekly run takes newer ones, which may need other things
        for requirement in needs(distribution):
            if not requirement.name.startswith(GPU_ONLY):
                assert canonicalize_name(requirement.name) in pins, distribution.metadata["Name"]


def test_conda_environment_is_in_step():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert set(environment) == {"name", "channels", "dependencies"}  # no prefix
    assert environment["channels"][0] == "conda-forge"
    python, pip, by_pip = environment["dependencies"]
    assert pip == "pip"
    version = re.fullmatch(r"python=(\d+\.\d+)", python).group(1)  # and no build string
    assert version in SpecifierSet(PROJECT["requires-python"])
    extras = ",".join(PROJECT["optional-dependencies"])
    assert by_pip == {"pip": ["-c constraints.txt", f"-e .[{extras}]"]}


def _imported_names(path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names - OWN - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("minipeft", ["lab"]),
        ("scripts", ["lab", "test"]),
        ("benchmarks", ["lab", "test"]),
        ("tests", ["lab", "test"]),
    ],
)
def test_every_import_is_declared(folder, extras):
    """A package that comes along with another today may be gone from it tomorrow."""
    declared = {canonicalize_name(requirement.name) for requirement in requirements(*extras)}
    distribution_names = packages_distributions()
    missing = []
    for path in (ROOT / folder).rglob("*.py"):
        neighbours = {other.stem for other in path.parent.glob("*.py")}
        for name in _imported_names(path) - neighbours:
            origins = {canonicalize_name(origin) for origin in distribution_names.get(name, [name])}
            if not origins & declared:
                missing.append(f"{path.relative_to(ROOT)} imports {name}: declare it")
    assert not missing, "\n".join(missing)


def test_supported_python():
    assert PROJECT["requires-python"] == ">=3.11"
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py311"
