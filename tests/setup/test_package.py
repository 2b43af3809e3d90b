"""What a plain `pip install minipeft` carries: the framework, the course, the shipped weights."""

import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from .project import PROJECT, ROOT, needs, requirements

# What the bare install must do, said without the libraries that only the extras bring.
FIRST_STEPS = """
import sys
sys.path.insert(0, {target!r})
sys.modules |= dict.fromkeys({absent!r})  # an import of one of these now fails
import minipeft
assert minipeft.__file__.startswith({target!r}), minipeft.__file__
from minipeft.course.base import load_base
model, tokenizer = load_base()
model = minipeft.get_peft_model(model, minipeft.LoraConfig(r=2, target_modules="all-linear"))
print(sum(p.numel() for p in model.parameters()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--no-index", "--quiet", "--wheel-dir", folder, str(ROOT)], check=True
    )
    return next(folder.glob("minipeft-*.whl"))


def test_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    information = f"minipeft-{PROJECT['version']}.dist-info/"
    assert all(name.startswith(("minipeft/", information)) for name in names)
    assert f"{information}licenses/LICENSE" in names
    assert not [name for name in names if "__pycache__" in name]


def test_wheel_holds_every_file_of_the_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "minipeft"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert set(listed) <= names
    weights = [name for name in names if name.endswith(".safetensors")]
    assert weights, "the wheel carries no weights"
    weights = [name for name in weights if not name.endswith("/key.safetensors")]  # of a release
    assert all(name.startswith("minipeft/course/data/") for name in weights)


def test_bare_install_loads_the_base_model(wheel, tmp_path):
    """Installed alone in an empty folder, with no package of the extras in reach."""
    target = tmp_path / "bare"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*command, "--target", target, str(wheel)], check=True)
    script = FIRST_STEPS.format(target=str(target), absent=_packages_of_the_extras())
    child = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    assert 1_000_000 < int(child.stdout) < 4_000_000


def _packages_of_the_extras() -> list[str]:
    """Top-level names of all that is installed and that the framework does not need."""
    installed = {canonicalize_name(d.metadata["Name"]): d for d in distributions()}
    needed, waiting = set(), [canonicalize_name(r.name) for r in requirements()]
    while waiting:
        name = waiting.pop()
        if name in installed and name not in needed:
            needed.add(name)
            waiting += [canonicalize_name(r.name) for r in needs(installed[name])]
    return sorted(
        {
            path.parts[0]
            for name, distribution in installed.items()
            if name not in needed | {"minipeft", "pip"}
            for path in distribution.files or []
            if path.name == "__init__.py" and len(path.parts) == 2 and path.parts[0].isidentifier()
        }
    )


def test_every_public_name_is_there_and_a_wrong_one_says_so():
    import minipeft

    assert all(getattr(minipeft, name) is not None for name in minipeft.__all__)
    assert set(minipeft.LATER) <= set(minipeft.__all__)
    with pytest.raises(AttributeError, match="'count_parametres'"):
        _ = minipeft.count_parametres


def test_importing_it_brings_nothing_that_is_slow_to_import():
    """Beside torch, which the user has imported already: its compiler alone takes a second."""
    slow = {"torch._dynamo", "torch._inductor", "matplotlib", "IPython", "transformers", "scipy"}
    program = "import sys, torch; before = set(sys.modules); import minipeft; "
    program += f"print(*({slow} & set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
