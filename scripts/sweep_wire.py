"""What arrives at each process in one step, by layout, method and number of processes.

    python scripts/sweep_wire.py           # some minutes of CPU, on Linux, which counts the bytes

writes minipeft/course/data/wire.json, which lesson 17 draws. Each entry is what process 0 found in
the third step of `minipeft.course.lessons.replica`: bytes handed to each kind of collective, bytes
that arrived over its TCP connections, and bytes of the parameters that it holds.
"""

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft.core.disk import atomic_write  # noqa: E402
from minipeft.course.base import DATA  # noqa: E402
from minipeft.course.lessons.wire import run  # noqa: E402

PROCESSES = (2, 3, 4, 8)
SETTINGS = ("DDP lora", "DDP full", "DDP qlora", "FSDP2 lora", "FSDP2 full", "FSDP2 qlora")


def main() -> None:
    """Run everything and write the file."""
    with tempfile.TemporaryDirectory() as folder:
        made = [run(Path(folder), *SETTINGS, processes=p).values() for p in PROCESSES]
    lines = ",\n  ".join(json.dumps(asdict(one)) for found in made for one in found)
    atomic_write(Path(DATA) / "wire.json", f'{{"runs": [\n  {lines}\n]}}\n'.encode())


if __name__ == "__main__":
    main()
