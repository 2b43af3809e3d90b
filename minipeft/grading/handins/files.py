"""All files below a folder or in a zip, and in the zips among them, in one list.

Nothing is unpacked to the disk, and links are not followed: a link could make one student's work
another's. Whatever cannot be read is named with the reason.
"""

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..notebook import LARGEST, Unreadable

DEEPEST = 3  # zips within zips
MOST_FILES = 100_000
JUNK = {"__MACOSX", ".ipynb_checkpoints", ".git", "__pycache__", "Thumbs.db", "desktop.ini"}
EMPTY = "nothing"
DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError)
Opener = Callable[[], BinaryIO]
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # absent on Windows


@dataclass(frozen=True)
class Found:
    """One file: where it lies below the root, a zip counting as a folder, and how to read it."""

    parts: tuple[str, ...]
    read: Callable[[], bytes]  # raises Unreadable
    changed: float = 0.0  # seconds; when it was last changed, as far as is known
    stamp: str = ""  # the time that a zip notes for it: for a platform's download, the hand-in's
    trouble: str = ""  # why it is no readable file

    @property
    def name(self) -> str:
        return self.parts[-1]

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix.casefold()

    @property
    def shown(self) -> str:
        return "/".join(self.parts)


def all_files(root: Path) -> list[Found]:
    """Every file below a folder or in a zip file, in the order of their paths.

    Raises ValueError where there is neither, or far too much.
    """
    if root.is_dir():
        found = _below(root, ())
    elif root.is_file() and root.suffix.casefold() == ".zip":
        found = _in_zip(lambda: open_plain_file(root)[0], (), 1)
    elif root.exists():
        raise ValueError(f"{str(root)!r} is neither a folder nor a zip")
    else:
        raise ValueError(f"there is no folder {str(root)!r}")
    files = []
    for file in found:
        files.append(file)
        if len(files) > MOST_FILES:
            raise ValueError(f"{str(root)!r} holds more than {MOST_FILES} files")
    return sorted(files, key=lambda file: file.parts)


def _is_junk(name: str) -> bool:
    return name in JUNK or name.startswith(".")


def _below(folder: Path, parts: tuple[str, ...]) -> Iterator[Found]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Found((*parts, ""), _never, trouble=f"{error.strerror}")
        return
    for entry in entries:
        path, here = Path(entry.path), (*parts, entry.name)
        if _is_junk(entry.name):
            continue
        if entry.is_symlink():
            yield Found(here, _reader(path), trouble="a link, which is not followed")
        elif entry.is_dir(follow_symlinks=False):
            yield from _folder(path, here)
        elif path.suffix.casefold() == ".zip":
            yield from _in_zip(lambda path=path: open_plain_file(path)[0], here, 1)
        else:
            yield Found(here, _reader(path), entry.stat(follow_symlinks=False).st_mtime)


def _folder(path: Path, here: tuple[str, ...]) -> Iterator[Found]:
    """What lies in a folder; the folder itself where it is empty, so that it is not forgotten."""
    if path.suffix.casefold() == ".ipynb":
        yield Found(here, _reader(path))
        return
    inside = list(_below(path, here))
    yield from inside or [Found((*here, ""), _never, trouble=EMPTY)]


def _reader(path: Path) -> Callable[[], bytes]:
    return lambda: read_plain_file(path, LARGEST)


def _never() -> bytes:
    raise Unreadable("there is nothing to read")


def _in_zip(opened: Opener, parts: tuple[str, ...], depth: int) -> Iterator[Found]:
    """The files in a zip. A zip that cannot be read is one file with a trouble."""
    try:
        with opened() as file, zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except (Unreadable, *DAMAGED) as error:
        yield Found(parts or ("",), _never, trouble=f"a zip that cannot be opened ({error})")
        return
    if len(members) > MOST_FILES:
        yield Found(parts or ("",), _never, trouble=f"a zip with more than {MOST_FILES} files")
        return
    empty = True
    for member in members:
        # backslashes, as some Windows tools write them; dots, that would lead out of the folder
        names = member.filename.replace("\\", "/").split("/")
        names = [name for name in names if name not in ("", ".", "..")]
        if not names or any(_is_junk(name) for name in names):
            continue
        empty, here = False, (*parts, *names)
        reader = _member_reader(opened, member)
        if PurePosixPath(names[-1]).suffix.casefold() == ".zip" and depth < DEEPEST:
            yield from _in_zip(lambda reader=reader: io.BytesIO(reader()), here, depth + 1)
        else:
            when = _when(member)
            yield Found(here, reader, when.timestamp() if when else 0.0, str(when or ""))
    if empty:
        yield Found((*parts, ""), _never, trouble=EMPTY)


def _member_reader(opened: Opener, member: zipfile.ZipInfo) -> Callable[[], bytes]:
    """Reads a member from the zip, opened anew: nothing is kept in memory between students."""

    def read() -> bytes:
        try:
            with opened() as outer, zipfile.ZipFile(outer) as archive, archive.open(member) as file:
                data = file.read(LARGEST + 1)  # whatever size the zip announces
        except RuntimeError as error:
            raise Unreadable("the zip is locked with a password") from error
        except DAMAGED as error:
            raise Unreadable(f"the zip is damaged ({error})") from error
        return _sized(data, len(data), LARGEST)

    return read


def _when(member: zipfile.ZipInfo) -> datetime | None:
    try:
        return datetime(*member.date_time)
    except ValueError:
        return None


def read_plain_file(path: Path, largest: int) -> bytes:
    """The bytes of a file that is a file: no link, no pipe, no folder, not huge."""
    file, size = open_plain_file(path)
    with file:
        return _sized(b"" if size > largest else file.read(), size, largest)


def open_plain_file(path: Path) -> tuple[BinaryIO, int]:
    """A file that is a file, open, and its size. Raises Unreadable."""
    try:
        if path.is_symlink():
            raise Unreadable("the file is a link, not a notebook")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _NO_LINK)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError
            raise Unreadable("there is something that is not a file in the notebook's place")
        return os.fdopen(descriptor, "rb"), status.st_size
    except OSError as error:
        what = "is a folder" if isinstance(error, IsADirectoryError) else f"{error.strerror}"
        raise Unreadable(f"the notebook could not be opened ({what})") from error


def _sized(data: bytes, size: int, largest: int) -> bytes:
    if not 0 < size <= largest:
        what = f"larger than {largest >> 20} MB" if size else "empty"
        raise Unreadable(f"the file is {what}")
    return data
