"""Make the zip that students get: `make release`.

    python scripts/release.py                     # dist/minipeft-students.zip
    python scripts/release.py --out course.zip

It holds the course as it is, without solutions, references and wrong answers, and without what
grades: the instant checks compare with recorded numbers (minipeft/grading/recorded.py). Lessons,
exercises and tests work in it alone. The same course makes the same bytes.
"""

import argparse
import importlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOP = "minipeft-course"
DATE = (2026, 1, 1, 0, 0, 0)  # of every file, so that two zips of one course are equal
GRADING = "minipeft/grading/"
# of minipeft/grading: the instant checks, and what they stand on
CHECKS = ("__init__", "arguments", "checks", "compare", "observing", "recorded", "results", "tasks")
CHECKS += ("exercises/__init__", "sandboxed/__init__", "sandboxed/call", "sandboxed/protocol")
LEFT_OUT = ("solutions/", "tests/grading/", "tests/benchmarks/", "benchmarks/")
LEFT_OUT += ("INSTRUCTORS.md", "scripts/exercises.py", "scripts/release.py")
INIT = '''"""Exercise {number} as students get it: numbers in place of answers."""

from pathlib import Path

from ...recorded import read
from . import asked

EXERCISE = read(Path(__file__).with_name("key.safetensors"), asked)
'''
NO_GRADER = '''"""Grading needs the answers, and this is the students' copy, which has none."""

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take whatever is asked."""
    parser.add_argument("anything", nargs="*")


def main(arguments: argparse.Namespace) -> int:
    """Say that there is no grader here."""
    print(__doc__, file=sys.stderr)
    return 2
'''


def contents() -> dict[str, bytes]:
    """Every file of the zip, by its path within the course."""
    files = {path: (ROOT / path).read_bytes() for path in course_files() if is_for_students(path)}
    for lesson in sorted((ROOT / GRADING / "exercises").glob("lesson_*")):
        files |= recorded(lesson.name)
    files[f"{GRADING}grade.py"] = NO_GRADER.encode()
    files["README.md"] = without_section(files["README.md"].decode(), "For instructors").encode()
    return files


def course_files() -> list[str]:
    """All files that belong to the course: those that git keeps."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = sorted(set(listed.stdout.decode().split("\0")) - {""})
    return [path for path in paths if (ROOT / path).is_file()]


def is_for_students(path: str) -> bool:
    """Whether a file goes into the zip as it is."""
    if path.startswith(GRADING):
        return path.removeprefix(GRADING).removesuffix(".py") in CHECKS
    return not path.startswith(LEFT_OUT)


def recorded(lesson: str) -> dict[str, bytes]:
    """One exercise without its answers."""
    sys.path.insert(0, str(ROOT))
    record = importlib.import_module("minipeft.grading.recorded").record
    package = importlib.import_module(f"minipeft.grading.exercises.{lesson}")
    asked = importlib.import_module(f"minipeft.grading.exercises.{lesson}.asked")
    folder = f"{GRADING}exercises/{lesson}/"
    return {
        f"{folder}__init__.py": INIT.format(number=package.EXERCISE.number).encode(),
        f"{folder}asked.py": Path(asked.__file__).read_bytes(),
        f"{folder}key.safetensors": record(package.EXERCISE, asked),
    }


def without_section(text: str, heading: str) -> str:
    """A Markdown text without one section."""
    return re.sub(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", "", text, flags=re.S | re.M)


def write(out: Path, files: dict[str, bytes]) -> None:
    """Write the zip, whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in sorted(files.items()):
            info = zipfile.ZipInfo(f"{TOP}/{path}", DATE)
            mode = 0o755 if data.startswith(b"#!") else 0o644  # a script can be run
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    temporary.replace(out)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make the zip that students get.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "minipeft-students.zip")
    out = parser.parse_args(arguments).out
    files = contents()
    write(out, files)
    print(f"Wrote {out} ({len(files)} files, {out.stat().st_size / 2**20:.1f} MB).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
