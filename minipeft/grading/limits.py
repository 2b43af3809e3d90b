"""What one submission may use."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one submission may use."""

    seconds: float = 240  # wall time of all its tasks together
    task_seconds: int = 8  # processor time of one task's calls; its cells have three times that
    patience: int = 3  # wall time in units of processor time: a busy machine is no one's fault
    memory: int = 3 << 30  # bytes, all its processes together
    processes: int = 32
    file_bytes: int = 8 << 20
    open_files: int = 128
    messages: int = 20_000  # of one task; a cell and an answer are one each
    sent_bytes: int = 32 << 20  # of one task

    @property
    def cell_seconds(self) -> int:
        """Processor time of the notebook's cells, before a task is judged."""
        return 3 * self.task_seconds

    def for_worker(self) -> dict[str, int]:
        """The same in the kernel's terms; the address space is that which torch reserves."""
        return {
            "RLIMIT_AS": 6 << 30,
            "RLIMIT_DATA": self.memory,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_SIGPENDING": 256,
            "RLIMIT_MSGQUEUE": 0,
            "RLIMIT_MEMLOCK": 64 << 10,
            "RLIMIT_CORE": 0,
        }

    def told(self) -> str:
        """The limits in words, as an exercise prints them."""
        return (
            f"{self.cell_seconds} seconds of processor time for the notebook's cells, "
            f"{self.task_seconds} for each task, {self.memory >> 30} GiB of memory, "
            f"files of {self.file_bytes >> 20} MB in the current folder, and no network"
        )
