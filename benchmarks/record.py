"""What every script shares: its options, its rows, and its part of one JSON file."""

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.models import TINY, Place, Size
from benchmarks.timing import Contenders, Spread, Times, interleaved, ratio
from minipeft.core.disk import atomic_write

PACKAGES = ("minipeft", "torch", "transformers", "peft", "bitsandbytes", "numpy", "safetensors")


@dataclass(frozen=True)
class Options:
    """From the command line. seconds: for each comparison. tiny: to see that a script runs."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    threads: int = 2
    seconds: float = 8.0
    tiny: bool = False

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def place(self) -> Place:
        return Place(self.device, self.dtype)

    def sizes(self, *sizes: Size) -> tuple[Size, ...]:
        """These, or a tiny one in place of them all."""
        return (TINY,) if self.tiny else sizes

    def turns(self, contenders: Contenders, between: Callable | None = None) -> Times:
        """Interleaved times of the contenders on this device."""
        rounds = (2, 2) if self.tiny else (7, 200)
        return interleaved(contenders, self.device, self.seconds, rounds, between)


@dataclass(frozen=True)
class Row:
    """One line of the table: ours / other, or one figure of ours where there is no other.

    at_most: the ratio (or the figure) that must hold; goal: the one we want; None for no limit.
    ours, other: seconds or bytes, as `unit` says. note: what to know, or why the row is empty.
    """

    what: str
    against: str
    ratio: Spread | None = None
    at_most: float | None = None
    goal: float | None = None
    ours: Spread | None = None
    other: Spread | None = None
    unit: str = "s"
    rounds: int = 1
    note: str = ""

    @property
    def figure(self) -> Spread | None:
        """What the limits are about."""
        return self.ratio if self.other is not None else self.ours

    @property
    def holds(self) -> bool | None:
        """Whether the median keeps the limit; None where there is none to keep."""
        if self.at_most is None or self.figure is None:
            return None
        return self.figure.median <= self.at_most

    def __str__(self) -> str:
        figure, unit = self.figure, "" if self.other is not None else f" {self.unit}"
        if figure is None:
            return f"{self.what}: not measured, {self.note}"
        text = f"{self.what} / {self.against}: {figure.median:.3f}{unit}"
        text += f" [{figure.low:.3f}, {figure.high:.3f}]"
        if self.at_most is not None:
            text += f", at most {self.at_most:.2f}: {'holds' if self.holds else 'MISSES'}"
        return text


def timed(
    what: str,
    times: Times,
    against: str,
    at_most: float | None = None,
    goal: float | None = None,
    ours: str = "ours",
    beyond: str | None = None,
) -> Row:
    """The row of two contenders of one run; with `beyond` after a third one's time is taken off."""
    bare = times[beyond] if beyond else [0.0] * len(times[ours])
    spreads = [
        Spread.of([a - b for a, b in zip(times[name], bare, strict=True)])
        for name in (ours, against)
    ]
    return Row(
        what,
        against,
        ratio(times, ours, against, beyond),
        at_most,
        goal,
        *spreads,
        rounds=len(times[ours]),
    )


def counted(
    what: str, ours: int, other: int, against: str, at_most: float | None, goal: float | None
) -> Row:
    """The row of two numbers of bytes."""
    figures = [Spread.of([float(value)]) for value in (ours / other, ours, other)]
    return Row(what, against, figures[0], at_most, goal, *figures[1:], unit="bytes")


def main(name: str, rows: Callable[[Options], Iterable], about: str | None) -> None:
    """Read the command line, measure, print, and put the rows into the JSON if one is named.

    rows: yields instances of a dataclass, one for each figure.
    """
    parser = argparse.ArgumentParser(description=(about or name).splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="bfloat16 on a GPU")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each comparison")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: only to see that it runs")
    parser.add_argument("--out", type=Path, help="a JSON file, in which other parts stay")
    given = parser.parse_args()
    cuda = given.device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        parser.error(f"--device {given.device}: torch sees no NVIDIA GPU here; leave it out")
    dtype = getattr(torch, given.dtype or ("bfloat16" if cuda else "float32"))
    torch.set_num_threads(given.threads)
    options = Options(given.device, dtype, given.threads, given.seconds, given.tiny)
    measured = []
    for row in rows(options):
        print(row, flush=True)
        measured.append(asdict(row))
    if given.out:
        fields = {"machine": machine(options), "versions": versions()}
        update(given.out, fields, {name: measured})


def update(path: Path, fields: dict[str, Any], parts: dict[str, list] | None = None) -> None:
    """Put fields and parts into the JSON; those of other names stay."""
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    record |= fields
    record["parts"] = record.get("parts", {}) | (parts or {})
    atomic_write(path, (json.dumps(record, indent=1) + "\n").encode())


def machine(options: Options) -> dict[str, Any]:
    """What the figures depend on, and nothing that names this very machine."""
    found = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "device": "cpu",
        "dtype": str(options.dtype).removeprefix("torch."),
    }
    if options.cuda:
        properties = torch.cuda.get_device_properties(options.device)
        found |= {"device": properties.name, "device_bytes": properties.total_memory}
        found |= {"cuda": torch.version.cuda}
    return found


def processor() -> str:
    """The processor's name, as the system tells it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for text in listing.read_text(encoding="utf-8").splitlines():
            if text.startswith("model name"):
                return text.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of Python and of the packages that are compared."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
