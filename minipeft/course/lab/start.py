"""`start`: the one set-up line of every lesson. Seeds, one thread, device, errors in one line."""

import logging
import os
import random
from dataclasses import dataclass

import numpy as np
import torch

from . import trouble

DEVICES = ("cpu", "cuda", "auto")


@dataclass(frozen=True)
class Machine:
    """Where the lesson runs and what it can use. Sizes are in bytes."""

    lesson: str
    seed: int
    device: torch.device
    threads: int
    cpu_count: int
    memory_bytes: int | None
    gpu_name: str | None
    gpu_memory_bytes: int | None

    def describe(self) -> None:
        """Print what this machine has. The lines begin alike, so that tests can skip them."""
        memory = f"{self.memory_bytes / 2**30:.0f} GiB" if self.memory_bytes else "unknown"
        gpu = "none found, and none needed"
        if self.gpu_name:
            gpu = f"{self.gpu_name} with {self.gpu_memory_bytes / 2**30:.0f} GiB"
        print(f"This machine: {self.cpu_count} CPU cores")
        print(f"This machine: memory {memory}")
        print(f"This machine: GPU {gpu}")


def start(lesson: str, seed: int = 0, device: str = "cpu", threads: int = 1) -> Machine:
    """Make a lesson repeatable: seed every generator, fix the threads, choose the device.

    The CPU with one thread is the reference for every number in the course, since sums change
    in their last digits with the number of threads. For models as small as these one thread is
    also the fastest, and it stays so beside other programs, where threads that spin while they
    wait for each other take ten times as long.

    Args:
        lesson: the lesson's number, as in "03".
        seed: seed of Python's, NumPy's and PyTorch's generators.
        device: "cpu"; "cuda", which falls back to the CPU where there is no GPU; or "auto",
            the same as "cuda" without saying so.
        threads: CPU threads that PyTorch may use.

    Returns:
        Machine: `.device`, `.seed`, `.cpu_count`, `.memory_bytes`, `.gpu_name`,
        `.gpu_memory_bytes`, and `.describe()`.

    Raises:
        ValueError: unknown device, or a seed or thread count that is out of range.
    """
    _check(seed, device, threads)
    chosen = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    _seed_everything(seed)
    torch.set_num_threads(threads)
    trouble.install()
    # On some processors its import warns that an optional kernel is not installed.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    machine = Machine(
        lesson=str(lesson),
        seed=seed,
        device=chosen,
        threads=threads,
        cpu_count=os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        gpu_name=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        gpu_memory_bytes=_gpu_memory_bytes(),
    )
    fallback = " (no GPU here)" if device == "cuda" and chosen.type == "cpu" else ""
    counted = "1 thread" if threads == 1 else f"{threads} threads"
    print(f"Lesson {lesson} · seed {seed} · {chosen.type}{fallback} · {counted}")
    return machine


def _check(seed: int, device: str, threads: int) -> None:
    if device not in DEVICES:
        raise ValueError(f"device={device!r} is unknown; choose one of {', '.join(DEVICES)}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} is out of range; choose 0 to {2**32 - 1}")
    if threads < 1:
        raise ValueError(f"threads={threads} is out of range; choose 1 or more")


def _seed_everything(seed: int) -> None:
    # cuBLAS reads this when it starts; without it deterministic matrix products raise.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)


def _memory_bytes() -> int | None:
    """Physical memory, or None where the standard library cannot tell (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _gpu_memory_bytes() -> int | None:
    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(0).total_memory
