"""For an instructor who is root: a worker's process becomes nobody before it does anything.

Root's own sandbox would be mapped to root, whom no limit on processes binds. Nobody may not pass
through folders that are closed to others, such as root's home, in which Python may lie: over each
of these comes, in a mount namespace of the process's own, an open folder that holds nothing but
what the sandbox needs. It all happens between fork and exec, so the process stays the grader's own
child, and ends with it (a helper program in between would have no right to end what is nobody's).
"""

import os
from collections.abc import Sequence
from pathlib import Path

from .sandboxed.walls import NEW_MOUNTS, PRIVATE, RECURSIVE, mount, unshare

ID = 65534
BIND = 0x1000  # MS_BIND


def become(sources: Sequence[Path]) -> None:
    """Become nobody, who sees `sources` where they are. Raises OSError where root may not."""
    unshare(NEW_MOUNTS)
    mount(None, "/", None, RECURSIVE | PRIVATE)
    closed = sorted({folder for source in sources for folder in closed_above(source)})
    outermost = [p for p in closed if not any(other in p.parents for other in closed)]
    for folder in outermost:
        within = [source for source in sources if folder in source.parents]
        held = {source: os.open(source, os.O_PATH) for source in within}  # before they are covered
        mount("tmpfs", folder, "tmpfs", 0, "mode=0755")
        for source, descriptor in held.items():
            _show(source, folder, descriptor)
    os.setgroups([])
    os.setresgid(ID, ID, ID)
    os.setresuid(ID, ID, ID)


def _show(source: Path, folder: Path, descriptor: int) -> None:
    """Bind what is open to its old place below `folder`, with open folders in between."""
    for parent in reversed(source.parents):
        if folder in parent.parents:
            parent.mkdir(0o755, exist_ok=True)
            parent.chmod(0o755)
    if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112 (a link of the kernel's)
        source.mkdir(0o755, exist_ok=True)
    else:
        source.touch(0o644)
    mount(f"/proc/self/fd/{descriptor}", source, None, BIND | RECURSIVE)
    os.close(descriptor)


def closed_above(source: Path) -> list[Path]:
    """The folders above `source` that others may not pass through."""
    return [parent for parent in source.parents if not parent.stat().st_mode & 0o001]
