"""Memory that pages: tensors live in a file, and visit the fast memory one page at a time."""

import shutil
import tempfile
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor


class Pages:
    """Room for some pages, and an arena on disk for all of them.

    A page that isn't in the room is copied in. Where the room is full, the page that was unused for
    longest is copied out first. What fits into the room is moved once and then never again.

    room, page_bytes: bytes. folder: where the arena's files lie; they go with this object.
    bytes_in, bytes_out: how much was copied, so far. resident_bytes: how much is in the room now.

    Raises ValueError where the room doesn't hold a page, OSError where the disk is full.
    """

    def __init__(self, room: int, page_bytes: int, folder: str | Path | None = None) -> None:
        if not 0 < page_bytes <= room:
            raise ValueError(f"room={room} bytes must hold a page of page_bytes={page_bytes}")
        self.room, self.page_bytes = room, page_bytes
        self.bytes_in = self.bytes_out = self.resident_bytes = 0
        self._folder = tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True)
        self._arenas: list[Tensor] = []  # (pages, rows, columns) each, mapped to a file
        self._resident: OrderedDict[tuple[int, int], Tensor] = OrderedDict()  # the oldest first

    def allocate(self, rows: int, numel: int, dtype: torch.dtype) -> int:
        """The number of a new arena: `rows` rows of `numel` zeros, cut into pages of columns."""
        columns = max(1, self.page_bytes // (rows * dtype.itemsize))
        shape = (-(numel // -columns), rows, columns)
        size = shape[0] * rows * columns
        free = shutil.disk_usage(self._folder.name).free
        if size * dtype.itemsize > free:
            raise OSError(
                f"{self._folder.name} has {free} bytes left; the states need "
                f"{size * dtype.itemsize}: give another folder"
            )
        file = Path(self._folder.name) / str(len(self._arenas))
        self._arenas.append(
            torch.from_file(str(file), shared=True, size=size, dtype=dtype).view(shape)
        )
        return len(self._arenas) - 1

    def columns(self, arena: int) -> int:
        """How many columns a page of this arena has."""
        return self._arenas[arena].shape[2]

    def fetch(self, arena: int, page: int) -> Tensor:
        """A page (rows, columns) that may be written to, in memory until memory is short."""
        if (arena, page) not in self._resident:
            values = self._arenas[arena][page].clone()
            while self._resident and self.resident_bytes + values.nbytes > self.room:
                self._push_out()
            self._resident[arena, page] = values
            self.bytes_in += values.nbytes
            self.resident_bytes += values.nbytes
        self._resident.move_to_end((arena, page))
        return self._resident[arena, page]

    def read(self, arena: int, numel: int) -> Tensor:
        """All of an arena: (rows, numel)."""
        for (owner, page), values in self._resident.items():
            if owner == arena:
                self._arenas[arena][page] = values
        return self._arenas[arena].transpose(0, 1).flatten(1)[:, :numel].contiguous()

    def _push_out(self) -> None:
        (arena, page), values = self._resident.popitem(last=False)
        self._arenas[arena][page] = values
        self.bytes_out += values.nbytes
        self.resident_bytes -= values.nbytes
