"""The wall: the command line that runs a worker where it can reach nothing but its own memory.

Inside there is no network, no process of ours, no home, no course and no solution: only the
system's libraries, Python, and the packages an exercise asks for, all read-only, and a small /tmp
that vanishes. Tools: bubblewrap (namespaces) and, for an instructor who is root, setpriv.
"""

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import minipeft

PACKAGE = Path(minipeft.__file__).resolve().parent
SANDBOXED = Path(__file__).resolve().parent / "sandboxed"
PACKAGES = ("numpy", "safetensors", "torch")
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
NOBODY = "65534"
SCRATCH = 64 << 20  # bytes in the sandbox's /tmp


class NoSandbox(RuntimeError):
    """This machine cannot build the wall; the text says why and what to do."""


def command(sandboxed: bool = True) -> tuple[list[str], dict[str, str]]:
    """(argv, environment) of a worker. Raises NoSandbox where the wall cannot be built."""
    python = [os.path.realpath(sys.executable), "-P", "-s", "-S", "-B", "-m", "sandboxed.worker"]
    if not sandboxed:
        paths = [str(SANDBOXED.parent), *map(str, site_folders())]
        return python, {**os.environ, **environment(paths)}
    check()
    return [*walls(), *python], {}


@functools.cache
def check() -> None:
    """Build the wall once around nothing. Raises NoSandbox with the reason if it does not stand."""
    if shutil.which("bwrap") is None:
        raise NoSandbox(_advice("bubblewrap (the command bwrap) is not installed"))
    trial = [*walls(), os.path.realpath(sys.executable), "-S", "-c", "import sandboxed.protocol"]
    done = subprocess.run(
        trial, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
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
    """The bubblewrap command up to the program that it runs."""
    inner = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns"]
    inner += ["--uid", NOBODY, "--gid", NOBODY, "--hostname", "sandbox"]
    inner += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    inner += ["--proc", "/proc", "--dev", "/dev", "--size", str(SCRATCH), "--tmpfs", "/tmp"]
    for path in SYSTEM:
        inner += _system(Path(path))
    places = binds()
    if PACKAGE in places and PACKAGE.is_relative_to("/usr"):
        inner += _hidden(PACKAGE.parent)  # a repository among the system's folders
    for source, place in places.items():
        inner += ["--ro-bind", str(source), str(place)]
    inner += _hidden(places.get(PACKAGE, PACKAGE) / "grading")  # the references
    paths = ["/worker", *map(str, site_folders()), "/worker/lib"]
    variables = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", **environment(paths)}
    for name, value in variables.items():
        inner += ["--setenv", name, value]
    # /dev and / are filesystems in memory too: read-only, or they would hold half of the machine's
    inner += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--"]
    return [*_as_nobody(list(places)), *inner]


def _hidden(folder: Path) -> list[str]:
    """An empty folder in place of one; read-only, as it is memory that nothing would count."""
    return ["--tmpfs", str(folder), "--remount-ro", str(folder)]


def binds() -> dict[Path, Path]:
    """Folder out here -> its place inside, for all that is not the system's."""
    folders = (Path(sys.base_prefix).resolve(), *site_folders())
    places = {SANDBOXED: Path("/worker/sandboxed"), **{folder: folder for folder in folders}}
    if PACKAGE.parent not in folders:  # an editable install: the package, not the repository
        places[PACKAGE] = Path("/worker/lib/minipeft")
    return places


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
    }


def _system(path: Path) -> list[str]:
    """One of the system's folders, as the link that it is on most systems, or bound."""
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind-try", str(path), str(path)]


def _as_nobody(sources: list[Path]) -> list[str]:
    """For root: become nobody first, seeing the sources even below folders closed to others.

    Root's own sandbox would be mapped to root, whom no limit on processes binds. A first
    bubblewrap puts an open folder over each closed one, with only the sources in it.
    """
    if os.geteuid() != 0:
        return []
    stage = ["bwrap", "--dev-bind", "/", "/", "--die-with-parent", "--chdir", "/"]
    stage += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    closed = sorted({closed for source in sources for closed in _closed_above(source)})
    outermost = [p for p in closed if not any(other in p.parents for other in closed)]
    for folder in outermost:
        stage += ["--tmpfs", str(folder)]
        for source in sources:
            if folder in source.parents:
                between = [p for p in reversed(source.parents) if folder in p.parents]
                for parent in between:
                    stage += ["--perms", "0755", "--dir", str(parent)]
                stage += ["--ro-bind", str(source), str(source)]
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return [*stage, "--", *drop]


def _closed_above(source: Path) -> list[Path]:
    """The folders above `source` that others may not pass through."""
    return [parent for parent in source.parents if not parent.stat().st_mode & 0o001]
