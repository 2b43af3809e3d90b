"""The wall: the command line that runs a worker where it can reach nothing but its own memory.

Inside there is no network, no process of ours, no home, no course and no solution: only the
system's libraries, Python, and the packages an exercise asks for, all read-only, and a small /tmp
that vanishes. The tool is bubblewrap (namespaces); for an instructor who is root see nobody.py.
"""

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import minipeft

from . import nobody

PACKAGE = Path(minipeft.__file__).resolve().parent
SANDBOXED = Path(__file__).resolve().parent / "sandboxed"
PACKAGES = ("numpy", "safetensors", "torch")
OPTIONS, WORKER = ("-P", "-s", "-S", "-B"), ("-m", "sandboxed.worker")
SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/alternatives",
)
SCRATCH = 1 << 20  # bytes in the worker's own /tmp; every task has another (sandboxed/walls.py)
SCRATCH_HOMES = dict.fromkeys(("HOME", "MPLCONFIGDIR", "IPYTHONDIR", "XDG_CACHE_HOME"), "/tmp")
TOLD = (Path("/proc/cpuinfo"), Path("/proc/meminfo"))  # all that is left of /proc


class NoSandbox(RuntimeError):
    """This machine cannot build the wall; the text says why and what to do."""


@dataclass(frozen=True)
class Command:
    """How a program is started: what subprocess.Popen takes."""

    args: list[str]
    env: dict[str, str]
    preexec_fn: Callable[[], None] | None = None


def command(sandboxed: bool = True) -> Command:
    """How a worker is started. Raises NoSandbox where the walls cannot be built."""
    if not sandboxed:
        paths = [str(SANDBOXED.parent), *map(str, site_folders())]
        program = [os.path.realpath(sys.executable), *OPTIONS, *WORKER]
        return Command(program, {**os.environ, **environment(paths)})
    check()
    return _behind_walls(WORKER)


def _behind_walls(arguments: Sequence[str]) -> Command:
    as_nobody = functools.partial(nobody.become, list(binds())) if os.geteuid() == 0 else None
    program = [*walls(), str(python_inside()), *OPTIONS, *arguments]
    return Command(program, {"PATH": os.environ.get("PATH", os.defpath)}, as_nobody)


@functools.cache
def check() -> None:
    """Build the walls once around nothing. Raises NoSandbox, with the reason, if they fall."""
    if shutil.which("bwrap") is None:
        raise NoSandbox(_advice("bubblewrap (the command bwrap) is not installed"))
    trial = _behind_walls(("-c", "from sandboxed import protocol, walls; walls.build()"))
    try:
        done = subprocess.run(
            **vars(trial),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.SubprocessError as error:  # this root may not mount
        raise NoSandbox(_advice(f"no sandbox can be made here ({error})")) from error
    if done.returncode:
        raise NoSandbox(_advice(f"bubblewrap does not work here ({done.stderr.strip()[-300:]})"))


def _advice(reason: str) -> str:
    return (
        f"{reason}. Submissions are other people's code, so they run in a sandbox, which needs "
        "Linux with bubblewrap 0.8 or newer (`apt install bubblewrap`) and user namespaces. "
        "--no-sandbox grades without one: a submission can then read, change and delete whatever "
        "you can."
    )


def walls() -> list[str]:
    """The bubblewrap command up to the program that it runs.

    There is no /proc inside: it would tell the machine's paths and this command line. What is
    bound has a name of its own there, for the same reason. The right to mount is for the worker,
    which gives every task a /tmp of its own and drops it (sandboxed/walls.py).
    """
    inner = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns"]
    inner += ["--uid", str(nobody.ID), "--gid", str(nobody.ID), "--hostname", "sandbox"]
    inner += ["--die-with-parent", "--new-session", "--clearenv"]
    inner += ["--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN"]
    inner += ["--dev", "/dev", "--size", str(SCRATCH), "--tmpfs", "/tmp"]
    for path in SYSTEM:
        inner += _system(Path(path))
    places = binds()
    if PACKAGE in places and PACKAGE.is_relative_to("/usr"):
        inner += _hidden(PACKAGE.parent)  # a repository among the system's folders
    for source, place in places.items():
        inner += ["--ro-bind", str(source), str(place)]
    for folder in site_folders():
        for file in (*folder.glob("*.pth"), *folder.glob("*.dist-info/direct_url.json")):
            inner += ["--ro-bind", os.devnull, str(places[folder] / file.relative_to(folder))]
    inner += _hidden(_package_inside(places) / "grading")  # the references
    paths = ["/worker", *(str(places[folder]) for folder in site_folders()), "/worker/lib"]
    variables = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **environment(paths)}
    for name, value in {**variables, **SCRATCH_HOMES}.items():
        inner += ["--setenv", name, value]
    # /dev and / are filesystems in memory too: read-only, or they would hold half of the machine's
    inner += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--"]
    return inner


def _hidden(folder: Path) -> list[str]:
    """An empty folder in place of one; read-only, as it is memory that nothing would count."""
    return ["--tmpfs", str(folder), "--remount-ro", str(folder)]


def binds() -> dict[Path, Path]:
    """Folder or file out here -> its place inside, for all that is not the system's."""
    places = {SANDBOXED: Path("/worker/sandboxed")}
    base = Path(sys.base_prefix).resolve()
    if not base.is_relative_to("/usr"):
        places[base] = Path("/python")
    places |= {
        folder: Path(f"/packages/{n}/site-packages") for n, folder in enumerate(site_folders())
    }
    if PACKAGE.parent not in places:  # an editable install: the package, not the repository
        places[PACKAGE] = Path("/worker/lib/minipeft")
    return places | {path: path for path in TOLD if path.exists()}


def _package_inside(places: dict[Path, Path]) -> Path:
    return places.get(PACKAGE) or places[PACKAGE.parent] / PACKAGE.name


def python_inside() -> Path:
    """The interpreter's path behind the walls."""
    program, base = Path(os.path.realpath(sys.executable)), Path(sys.base_prefix).resolve()
    return Path("/python") / program.relative_to(base) if base in binds() else program


@functools.cache
def site_folders() -> tuple[Path, ...]:
    """Where the packages are installed that submissions may import."""
    found = (importlib.util.find_spec(name) for name in PACKAGES)
    return tuple(sorted({Path(spec.origin).resolve().parents[1] for spec in found}))


def environment(paths: list[str]) -> dict[str, str]:
    """The variables that Python needs in a worker."""
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",  # so that the order of a student's set is the same each time
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
    }


def _system(path: Path) -> list[str]:
    """One of the system's folders, as the link that it is on most systems, or bound."""
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind-try", str(path), str(path)]
