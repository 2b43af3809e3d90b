"""What travels between the processes of a training: several processes run, their bytes counted.

Bytes are counted twice: as they are handed to PyTorch's collective operations, and as they arrive
over TCP, which Linux counts for each connection.
"""

import json
import os
import socket
import stat
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from minipeft.course.base import DATA

# The operations of c10d, PyTorch's library of collectives, and their usual names.
OPERATIONS = {
    "allreduce_": "all-reduce",
    "_allgather_base_": "all-gather",
    "_reduce_scatter_base_": "reduce-scatter",
    "broadcast_": "broadcast",
}
# Places in Linux's struct tcp_info (include/uapi/linux/tcp.h).
BYTES_RECEIVED, TCP_INFO_BYTES = 128, 232


class Collectives(TorchDispatchMode):
    """Within the block, the bytes that this process hands to each kind of collective.

    `handed` counts the whole tensor of each call: for an all-gather all parts together.
    """

    def __init__(self) -> None:
        super().__init__()
        self.handed: dict[str, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = OPERATIONS.get(func.name().removeprefix("c10d::").split(".")[0])
        if name and func.namespace == "c10d":
            tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
            self.handed[name] = self.handed.get(name, 0) + max(t.nbytes for t in tensors)
        return func(*args, **(kwargs or {}))


class Traffic(Collectives):
    """What one step of a training hands to collectives, and what arrives over this process's TCP.

    All processes enter and leave together. `arrived` is None where the system doesn't tell: Linux
    counts the bytes of each connection.
    """

    arrived: int | None = None

    def __enter__(self):
        self._before = self._together()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        now = self._together() if error[0] is None else None
        if now is not None:
            self.arrived = now - self._before

    def _together(self) -> int | None:
        """The count, read while no process goes on."""
        dist.barrier()
        count = received()
        dist.barrier()
        return count


def received() -> int | None:
    """The bytes that have arrived over all TCP connections of this process; None if not Linux."""
    if not sys.platform.startswith("linux"):
        return None
    total = 0
    for file in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # a file that was closed meanwhile, or no TCP connection
            if stat.S_ISSOCK(file.stat().st_mode):
                with socket.socket(fileno=os.dup(int(file.name))) as connection:
                    total += _received(connection)
    return total


def _received(connection: socket.socket) -> int:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    return struct.unpack_from("=Q", told, BYTES_RECEIVED)[0]


def held(model: nn.Module) -> int:
    """The bytes of parameters that this process holds: of a sharded one its own part."""
    own = (getattr(p, "to_local", lambda p=p: p)() for p in model.parameters())
    return sum(tensor.nbytes for tensor in own)


def torchrun(module: str, *arguments: str, processes: int = 2) -> None:
    """Run a module in several processes of this machine that talk over 127.0.0.1, and wait.

    torchrun chooses a free port by itself. Raises RuntimeError, with the end of what the processes
    said, where one of them fails.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--local-addr", "127.0.0.1", f"--nproc-per-node={processes}", "-m", module]
    ended = subprocess.run(
        [*command, *arguments], env={**os.environ, **_alone()}, capture_output=True, text=True
    )
    if ended.returncode:
        raise RuntimeError(f"torchrun failed with {ended.returncode}:\n{ended.stderr[-2000:]}")


def _alone() -> dict[str, str]:
    """Settings that keep processes to one thread each, and to this machine."""
    if sys.platform == "win32":
        return {"OMP_NUM_THREADS": "1", "USE_LIBUV": "0"}  # its builds of PyTorch lack libuv
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    return {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": loopback}


@dataclass(frozen=True)
class Run:
    """What process 0 found in the last step of one setting, with how many processes."""

    processes: int
    setting: str  # layout and method, as in "FSDP2 lora"
    handed: dict[str, int]
    arrived: int | None
    held: int


def run(folder: Path, *settings: str, processes: int = 2) -> dict[str, Run]:
    """Train with `minipeft.course.lessons.replica` in several processes; see its `main`.

    The adapters are saved in subfolders of the settings' names. Raises RuntimeError as `torchrun`.
    """
    torchrun("minipeft.course.lessons.replica", str(folder), *settings, processes=processes)
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return {setting: Run(processes, setting, **found[setting]) for setting in settings}


def recorded() -> list[Run]:
    """The runs of `scripts/sweep_wire.py`: two to eight processes on one machine, over TCP."""
    text = (DATA / "wire.json").read_text(encoding="utf-8")
    return [Run(**entry) for entry in json.loads(text)["runs"]]
