"""The folder of one grading: its settings and seed, its results, its pages.

OUT/settings.json     seed and settings; `finished` once every submission was graded
OUT/results/          one file for each submission, written as it is done
OUT/by_hand.csv       for the instructor to fill in
OUT/grades.csv, canvas.csv, moodle.csv, similar.csv
OUT/class.html, by_hand.html, feedback/STUDENT.html
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...core.disk import atomic_write

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class Refused(ValueError):
    """The grading cannot begin; the text says why and what to do."""


class Folder:
    """One grading's folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.feedback, self.results = out / "feedback", out / "results"

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Make the folder, see that it can be written, and keep other graders out.

        Raises Refused, before anything is graded.
        """
        try:
            for folder in (self.out, self.feedback, self.results):
                folder.mkdir(parents=True, exist_ok=True)
                probe = folder / f".{secrets.token_hex(4)}.tmp"
                probe.write_bytes(b"")
                probe.unlink()
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Refused(f"--out {str(self.out)!r} cannot be written ({why})") from error
        descriptor = os.open(self.out, os.O_RDONLY) if fcntl else -1
        try:
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise Refused(f"another grader is at work in {str(self.out)!r}") from error
        finally:
            if fcntl:
                os.close(descriptor)

    def settings(self) -> dict:
        """The settings of an earlier grading here; empty where there was none."""
        try:
            found = json.loads((self.out / "settings.json").read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            return {}

    def store(self, settings: Mapping[str, object]) -> None:
        """Write the settings."""
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        atomic_write(self.out / "settings.json", text.encode())

    def write(self, name: str, text: str) -> None:
        """Write one file, whole or not at all; what UTF-8 cannot hold becomes an escape."""
        atomic_write(self.out / name, text.encode("utf-8", errors="backslashreplace"))

    def remove_strangers(self, pages: Sequence[str], results: Sequence[str]) -> None:
        """Remove pages and results of students who are no longer there."""
        for folder, names, pattern in (
            (self.feedback, pages, "*.html"),
            (self.results, results, "*.json"),
        ):
            for path in folder.glob(pattern):
                if path.name not in names:
                    path.unlink()


def chosen_seed(
    asked: int | None, before: dict, digests: dict[str, str], public: Sequence[int], again: bool
) -> int:
    """The seed of this run. Raises Refused for one that a student may know.

    A seed is good for one set of submissions: once the feedback is out, its inputs are no secret.
    So the same seed goes on with what was begun, and renews pages and tables, but grades nothing
    that came later, unless the instructor says that it may (`again`).
    """
    known = before.get("seed") if type(before.get("seed")) is int else None
    new = sorted(s for s, digest in digests.items() if before.get("handins", {}).get(s) != digest)
    is_used = bool(before.get("finished")) and bool(new) and not again
    if asked is None:
        return known if known is not None and not is_used else 1 + secrets.randbelow(10**9)
    if asked in public or asked < 1:
        raise Refused(
            f"--seed {asked} is no secret: it is the seed of the exercise's own checks. Choose "
            f"another, say {1 + secrets.randbelow(10**9)}, or leave --seed out to have one drawn"
        )
    if asked == known and is_used:
        shown = ", ".join(new[:5]) + (f" and {len(new) - 5} more" if len(new) > 5 else "")
        raise Refused(
            f"--seed {asked} was used here before, and these were handed in or changed since: "
            f"{shown}. Choose another seed, with which all are graded anew, or leave --seed out. "
            "If no student has seen any feedback yet, --reuse-seed goes on with it"
        )
    return asked


def file_names(students: Sequence[str], suffix: str = ".html") -> list[str]:
    """A file name for each student, safe on every system, and no two the same."""
    names, taken = [], set()
    for student in students:
        kept = (c if c.isascii() and (c.isalnum() or c in "-_.@") else "_" for c in student)
        name = "".join(kept)[:80]
        digest = hashlib.sha256(student.encode(errors="surrogateescape")).hexdigest()[:8]
        if name != student or name[:1] in ("", ".") or name.casefold() in taken or _reserved(name):
            name = f"{name.lstrip('.')}-{digest}"
        taken.add(name.casefold())
        names.append(f"{name}{suffix}")
    return names


def _reserved(name: str) -> bool:
    """Whether Windows keeps the name for a device."""
    stem = name.partition(".")[0].casefold()
    return stem in {"con", "prn", "aux", "nul"} or (
        stem[:3] in ("com", "lpt") and stem[3:].isdigit()
    )
