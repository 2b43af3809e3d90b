"""How long a forward pass takes with adapters, and with LoRA merged and not, by batch.

    python scripts/latency.py              # about five minutes of CPU

writes minipeft/course/data/latency.json, which lesson 07 draws; it measures one base once more
where it runs. One thread, float32, no gradients; see `course.lessons.latency`. A text of length 1
is what a model reads for each token that it generates, 64 is a short prompt. `--keep` goes on with
a recording that was interrupted, on the same machine.
"""

import argparse
import itertools
import json
import platform
import re
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft.core.disk import atomic_write  # noqa: E402
from minipeft.course.base import DATA  # noqa: E402
from minipeft.course.lessons import latency  # noqa: E402

BATCHES = (1, 4, 16, 64, 256)
LENGTHS = (1, 64)
MOST = {"192 wide": 4096, "768 wide": 256}  # tokens in a batch; more takes too long
ROUNDS = 21


def processor() -> str:
    """The processor's name, as the system tells it."""
    listed = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", listed.read_text()) if listed.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def measured(base: str, length: int, batch: int, models: dict) -> dict:
    """One point: (low quartile, median, high quartile) of each setup, in the base's times."""
    input_ids = torch.arange(length * batch).view(batch, length) % 1024
    found = latency.slowdowns(models, input_ids, rounds=ROUNDS)
    told = {n: [round(v, 3) for v in (s.low, s.median, s.high)] for n, s in found.items()}
    point = {"processor": processor(), "base": base, "length": length, "batch": batch}
    return point | {"slowdowns": told}


def main(arguments: list[str] | None = None) -> None:
    """Measure all points and write the file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--keep", action="store_true", help="keep what the file has already")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    path = Path(str(DATA)) / "latency.json"
    keep = parser.parse_args(arguments).keep and path.exists()
    done = json.loads(path.read_text(encoding="utf-8"))["runs"] if keep else []
    for base in latency.BASES:
        models = latency.contenders(base)
        for length, batch in itertools.product(LENGTHS, BATCHES):
            point = {"base": base, "length": length, "batch": batch}
            known = any(point.items() <= run.items() for run in done)
            if known or length * batch > MOST[base]:
                continue
            done.append(measured(base, length, batch, models))
            print(done[-1], flush=True)
            lines = ",\n  ".join(json.dumps(run) for run in done)
            text = f'{{"threads": 1, "rounds": {ROUNDS}, "runs": [\n  {lines}\n]}}\n'
            atomic_write(path, text.encode())


if __name__ == "__main__":
    main()
