"""All benchmarks, each in a process of its own, then the page: what `make bench` runs.

    python -m benchmarks                  # on the processor, in under 15 minutes on two cores
    python -m benchmarks --device cuda    # on an NVIDIA GPU

The figures go to benchmarks/results/, and page.py makes the table and the pictures from them.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.page import write_page
from benchmarks.record import update

SCRIPTS = (
    "lora_step",
    "dora_step",
    "method_steps",
    "step_memory",
    "nf4",
    "qlora_step",
    "qlora_memory",
    "mixed_batches",
    "merged_forward",
    "switching",
    "adapter_files",
    "import_time",
    "growth",
)
RESULTS = Path("benchmarks/results")


def main() -> None:
    """Run them all, and go on after one that fails; the exit status then says so."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: only to see that it runs")
    parser.add_argument("--scripts", nargs="+", default=SCRIPTS, choices=SCRIPTS)
    parser.add_argument("--results", type=Path, default=RESULTS, help="a folder")
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    out = given.results / f"{given.device.partition(':')[0]}.json"
    began, failed = time.perf_counter(), []
    for script in given.scripts:
        print(f"== {script}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{script}", "--device", given.device]
        command += ["--out", str(out)] + ["--tiny"] * given.tiny
        if subprocess.run(command).returncode:
            failed.append(script)
    if out.is_file():
        command = "make bench" if given.device == "cpu" else "make bench-gpu"
        update(out, {"command": command, "seconds": round(time.perf_counter() - began)})
        write_page(out)
    if failed:
        sys.exit(f"failed, see above: {', '.join(failed)}")


if __name__ == "__main__":
    main()
