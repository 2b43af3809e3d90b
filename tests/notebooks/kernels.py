"""Kernels for tests: apart from the user's own set-up, and apart from each other."""

import os
import sys
import tempfile
from pathlib import Path

import nbval.kernel
from jupyter_client.manager import KernelManager

_folder = tempfile.TemporaryDirectory(prefix="k", ignore_cleanup_errors=True)


def isolate() -> None:
    """Give this process's kernels folders of their own, and pipes in place of ports.

    The user's IPython start-up files must not change a test, nor its history file make two
    kernels wait for each other. Two test processes could be given the same free port; a Unix
    socket has a name of its own.
    """
    # Two kernels run at once on two cores: threads that spin while waiting would cost 20x.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["IPYTHONDIR"] = str(Path(_folder.name, "ipython"))
    os.environ["JUPYTER_RUNTIME_DIR"] = str(Path(_folder.name, "runtime"))
    if sys.platform != "win32":
        nbval.kernel.KernelManager = _with_unix_sockets


def _with_unix_sockets(**options) -> KernelManager:
    folder = tempfile.mkdtemp(dir=_folder.name)
    return KernelManager(transport="ipc", ip=str(Path(folder, "k")), **options)
