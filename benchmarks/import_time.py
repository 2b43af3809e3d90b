"""How long does `import minipeft` take beyond `import torch`?

    python -m benchmarks.import_time [--out results.json]

Each run is a fresh process that has torch already when the clock starts. The very first run, which
may compile bytecode, isn't counted.
"""

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.record import Options, Row, main
from benchmarks.timing import Spread

PROGRAM = """
import time, torch
began = time.perf_counter()
import minipeft
print(time.perf_counter() - began)
"""
RUNS = 9


def once() -> float:
    """Seconds of one import in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def rows(options: Options) -> Iterator[Row]:
    """One row, in seconds."""
    once()
    runs = [once() for _ in range(1 if options.tiny else RUNS)]
    yield Row("import minipeft", "import torch", None, 0.3, 0.1, Spread.of(runs), rounds=len(runs))


if __name__ == "__main__":
    main("import_time", rows, __doc__)
