"""How much memory a process and all its descendants hold. Linux; elsewhere always 0."""

import contextlib
import os
from pathlib import Path

PROC = Path("/proc")


def over(limit: int, process: int) -> bool:
    """Whether `process` and its descendants hold more than `limit` bytes.

    Resident pages are quick to count, but one that many share counts for each; so the slow and
    exact measure (proportional set size) has the last word.
    """
    pages = _family(process)
    if not pages or sum(pages.values()) * os.sysconf("SC_PAGE_SIZE") <= limit:
        return False
    return sum(map(_proportional_bytes, pages)) > limit


def _family(process: int) -> dict[int, int]:
    """Process id -> resident pages, for `process` and its descendants."""
    parents, pages = {}, {}
    for entry in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # it ended meanwhile
            # the name, in brackets, may hold anything: count from the last one
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            parents[int(entry.name)], pages[int(entry.name)] = int(fields[1]), int(fields[21])
    family = {process} & pages.keys()
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return {member: pages[member] for member in family}


def _proportional_bytes(process: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in (PROC / str(process) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0
