"""Saving on a full disk and being killed while saving: the old adapter stays whole and loads."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import minipeft

from .models import TOKENS, toy
from .peers import scramble, trained_by_us, wrap_ours

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
OPTIONS = {"r": 2, "target_modules": ["first", "second"]}


def trained_toy(seed: int) -> minipeft.PeftModel:
    torch.manual_seed(0)
    model = wrap_ours(toy(), OPTIONS)
    scramble(trained_by_us(model), seed)
    return model


def answer_of(folder: Path) -> torch.Tensor:
    return minipeft.PeftModel.from_pretrained(toy(), folder)(TOKENS)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_at_any_step(step, tmp_path, monkeypatch):
    """ENOSPC shows at the flush (delayed allocation) or at the rename (a full directory)."""
    trained_toy(1).save_pretrained(tmp_path)
    before = contents(tmp_path)
    model = trained_toy(2)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, full_disk)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            model.save_pretrained(tmp_path)
    assert contents(tmp_path) == before  # no litter either
    assert torch.equal(answer_of(tmp_path), trained_toy(1)(TOKENS))
    model.save_pretrained(tmp_path)
    assert torch.equal(answer_of(tmp_path), model(TOKENS))


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_no_adapter_of_several_is_replaced_when_one_cannot_be_written(
    failing, tmp_path, monkeypatch
):
    """Two adapters are four files: a full disk at the n-th leaves all four as they were."""
    model = trained_toy(1)
    model.add_adapter("french", minipeft.LoraConfig(**OPTIONS))
    model.save_pretrained(tmp_path)
    before = contents(tmp_path)
    scramble(trained_by_us(model), 3)
    calls = []

    def nth(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing:
            full_disk()

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", nth)
        with pytest.raises(OSError):
            model.save_pretrained(tmp_path)
    assert len(calls) == failing
    assert contents(tmp_path) == before


def run(script: str, *arguments: object) -> list:
    """Run a script in a Python of its own, with this package; it prints one JSON value."""
    root = Path(minipeft.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SETTING + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SETTING = """
import json, os, signal, sys, torch
from torch import nn
import minipeft

torch.set_num_threads(1)
X = torch.linspace(-1, 1, 64)[None]

def model(seed):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(64, 64))
    adapted = minipeft.get_peft_model(base, minipeft.LoraConfig(r=8, target_modules=["0"]))
    torch.manual_seed(seed)
    adapted.base_model[0].tuner.lora_B.weight.data.normal_()
    return adapted

def answer(folder):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(64, 64))
    return minipeft.PeftModel.from_pretrained(base, folder)(X)
"""

KILLED = """
folder, ends = sys.argv[1], []
old, new = model(1)(X), model(2)(X)

def kill_at(number):
    # Run the child's save with a kill in the middle of its n-th step (write, flush or rename).
    steps = [0]
    def counted(function):
        def step(*arguments, **options):
            steps[0] += 1
            if steps[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return step
    for name in ("fsync", "replace", "rename", "write", "open"):
        setattr(os, name, counted(getattr(os, name)))
    model(2).save_pretrained(folder)

for number in range(1, 40):
    model(1).save_pretrained(folder)
    child = os.fork()
    if child == 0:
        try:
            kill_at(number)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    found = answer(folder)
    state = "old" if torch.equal(found, old) else "new" if torch.equal(found, new) else "neither"
    ends.append([killed, state])
    if not killed:
        break
print(json.dumps(ends))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, which Windows lacks")
def test_killed_at_every_step(tmp_path):
    """SIGKILL runs no `finally`: whatever lies there must be the old adapter or the new, whole."""
    ends = run(KILLED, tmp_path)
    assert len(ends) > 4  # four steps at least: two flushes, two renames
    assert all(killed for killed, _ in ends[:-1])
    assert ends[-1] == [False, "new"]
    assert {state for _, state in ends} == {"old", "new"}
    states = [state for _, state in ends]
    assert states == sorted(states, reverse=True)  # first the old one, from some step on the new


LIMITED = """
import resource
folder, ends = sys.argv[1], []
old = model(1)
old.save_pretrained(folder)
size = os.path.getsize(os.path.join(folder, "adapter_model.safetensors"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (0, 1, size // 2, size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        model(2).save_pretrained(folder)
        error = None
    except OSError as failure:
        error = type(failure).__name__
    files = sorted(os.listdir(folder))
    ends.append([error, torch.equal(answer(folder), old(X)), files])
print(json.dumps(ends))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits, which Windows lacks")
def test_no_room_for_the_file(tmp_path):
    """A real failing write, not a patched one: the system lets no file grow past a limit."""
    for error, old_is_whole, files in run(LIMITED, tmp_path):
        assert error == "OSError"
        assert old_is_whole
        assert files == [CONFIG, WEIGHTS]


def test_litter_of_a_killed_process_is_no_adapter(tmp_path):
    """A temporary file left behind has another ending, and is never read."""
    trained_toy(1).save_pretrained(tmp_path)
    names: list[str] = []
    real = os.replace

    def spy(source: os.PathLike, target: os.PathLike) -> None:
        names.append(Path(source).name)
        assert Path(source).parent == Path(target).parent  # one file system: rename is atomic
        real(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", spy)
        trained_toy(2).save_pretrained(tmp_path)
    assert len(names) == 2
    for name in names:
        assert not name.endswith((".safetensors", ".json"))
        (tmp_path / name).write_bytes(b"half of a file")
    assert torch.equal(answer_of(tmp_path), trained_toy(2)(TOKENS))


def test_a_folder_that_may_not_be_written(tmp_path):
    """A file stands where the folder should be: the error is the system's, the file stays."""
    (tmp_path / "adapter").write_bytes(b"mine")
    with pytest.raises(OSError):
        trained_toy(1).save_pretrained(tmp_path / "adapter")
    assert (tmp_path / "adapter").read_bytes() == b"mine"
