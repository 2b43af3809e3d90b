"""Recorded merges of QLoRA adapters, and updates cut to ranks; made by `scripts/merging.py`."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap

from minipeft.core.errors import nearest
from minipeft.course.base import DATA

INDENTED = {"initial_indent": "  ", "subsequent_indent": "  ", "break_on_hyphens": False}


def recorded(kind: str) -> list[dict]:
    """What `scripts/merging.py` found, one entry for each training and seed.

    kind: "merges" (merges of QLoRA adapters) or "ranks" (updates cut to lower ranks).
    Raises ValueError for any other.
    """
    runs = json.loads((DATA / "merging.json").read_text(encoding="utf-8"))
    if kind not in runs:
        raise ValueError(f"nothing is recorded of {kind!r}; {nearest(kind, runs)}")
    return runs[kind]


@dataclass(frozen=True)
class Merged:
    """QLoRA adapters of one learning rate, as they were trained and merged: three seeds.

    losses: {merge: (lowest, mean, highest)} of the new task, above its floor.
    own: {merge: mean} of the base's own world, above its floor.
    size: mean of ||W - W0|| / ||W0||. erased: mean share that re-quantizing erases.
    """

    rate: float
    size: float
    erased: float
    losses: dict[str, tuple[float, float, float]]
    own: dict[str, float]

    def __str__(self) -> str:
        """A few narrow lines."""
        told = (f"{name} {m:.2f} ({a:.2f}-{b:.2f})" for name, (a, m, b) in self.losses.items())
        head = f"rate {self.rate:g}: update {self.size:.0%} of W0, {self.erased:.0%} of it erased"
        return "\n".join([head, *wrap(", ".join(told), 68, **INDENTED)])


def merges_by_rate() -> list[Merged]:
    """The recorded merges, by ascending learning rate."""
    runs = recorded("merges")
    return [
        _merged(rate, [run for run in runs if run["rate"] == rate])
        for rate in sorted({run["rate"] for run in runs})
    ]


def _merged(rate: float, runs: list[dict]) -> Merged:
    names = list(runs[0]["losses"])
    return Merged(
        rate,
        _mean(run["size"] for run in runs),
        _mean(run["erased"] for run in runs),
        {name: _spread([run["losses"][name][0] for run in runs]) for name in names},
        {name: _mean(run["losses"][name][1] for run in runs) for name in names},
    )


@dataclass(frozen=True)
class Cut:
    """The updates of one method and learning rate, whole and cut to ranks: three seeds.

    ranks, error: mean of ||D - D_r|| / ||D|| at each rank.
    losses: (lowest, mean, highest) of the new task at each rank, three lists.
    whole, own: mean loss of the whole update, new task and own world, above the floors.
    size: mean of ||W - W0|| / ||W0||.
    """

    method: str
    rate: float
    size: float
    whole: float
    own: float
    ranks: list[int]
    error: list[float]
    losses: tuple[list[float], list[float], list[float]]

    def __str__(self) -> str:
        """A narrow line about the whole update."""
        return (
            f"{self.method:<4} rate {self.rate:<6g} update {self.size:4.0%} of W0: new task "
            f"{self.whole:.2f}, own world {self.own:.2f}"
        )


def cuts() -> dict[str, list[Cut]]:
    """The recorded updates by method, each at several learning rates, the best one first."""
    found: dict[str, list[Cut]] = {}
    runs = recorded("ranks")
    for method, rate in sorted({(run["method"], run["rate"]) for run in runs}):
        same = [run for run in runs if (run["method"], run["rate"]) == (method, rate)]
        by_rank = [_spread(losses) for losses in zip(*(r["losses"] for r in same), strict=True)]
        cut = Cut(
            method,
            rate,
            _mean(run["size"] for run in same),
            _mean(run["whole"][0] for run in same),
            _mean(run["whole"][1] for run in same),
            same[0]["ranks"],
            [_mean(errors) for errors in zip(*(run["error"] for run in same), strict=True)],
            tuple(list(part) for part in zip(*by_rank, strict=True)),
        )
        found.setdefault(method, []).append(cut)
    return {method: sorted(each, key=lambda cut: cut.whole) for method, each in found.items()}


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), statistics.mean(values), max(values)


def _mean(values: Iterable[float]) -> float:
    return statistics.mean(values)
