"""How long does a class take to grade, and does the grader's memory stay flat?

    python -m benchmarks.grading [--students 100] [--jobs 2] [--out results.json]

Grades a made-up class on exercise 03, torch included, in the sandbox: mostly right notebooks, some
with a mistake, an endless loop, or no notebook at all. Needs Linux with bubblewrap.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOLUTION = Path(__file__).resolve().parents[1] / "solutions" / "03_lora_from_scratch.ipynb"
# what every so many students hand in, in place of a right cell
MISTAKES = {
    5: ("merge", "def merge(weight, A, B, alpha):\n    return weight + B @ A"),
    7: ("diagnose", "def diagnose(record):\n    return 'healthy'"),
    11: ("lora_forward", "def lora_forward(*given):\n    raise NotImplementedError"),
    25: ("train_lora", "def train_lora(*given):\n    while True:\n        pass"),
}


def make_class(folder: Path, students: int) -> None:
    """Write one notebook for each student."""
    folder.mkdir()
    for number in range(1, students + 1):
        notebook = json.loads(SOLUTION.read_text(encoding="utf-8"))
        for every, (name, source) in MISTAKES.items():
            for cell in notebook["cells"]:
                about = cell["metadata"].get("nbgrader", {})
                if number % every == 0 and about.get("grade_id") == name:
                    cell["source"] = source
        text = "not a notebook" if number % 50 == 0 else json.dumps(notebook)
        (folder / f"student{number:03}.ipynb").write_text(text, encoding="utf-8")


def resident(process: int) -> int:
    """Bytes that a process has in memory."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * resource.getpagesize()


def measure(folder: Path, jobs: int) -> dict[str, object]:
    """Grade the class; what it took."""
    command = [sys.executable, "-m", "minipeft", "grade", str(folder / "in"), "--seed", "5"]
    command += ["--out", str(folder / "out"), "--jobs", str(jobs)]
    began, seen = time.monotonic(), []
    grader = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while grader.poll() is None:
        seen.append(resident(grader.pid))
        time.sleep(0.2)
    seen = [size for size in seen if size]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    middle = len(seen) // 2
    return {
        "seconds": round(time.monotonic() - began, 1),
        "processor seconds": round(used.ru_utime + used.ru_stime, 1),
        "exit status": grader.returncode,
        "grader's MB, largest in the first half": round(max(seen[:middle]) / 2**20, 1),
        "grader's MB, largest in the second half": round(max(seen[middle:]) / 2**20, 1),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a JSON file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        make_class(Path(name) / "in", given.students)
        found = {"students": given.students, "jobs": given.jobs}
        found |= measure(Path(name), given.jobs)
    text = json.dumps(found, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
