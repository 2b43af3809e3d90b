"""Recorded adaptations of the digits' ViT, made by `scripts/sweep_vision.py` for lesson 16."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from minipeft.core.errors import nearest
from minipeft.course.lessons.recorded import recorded_runs

Ends = tuple[float, float, float]  # (lowest, mean, highest) of three seeds
HEADER = f"{'method':<12}{'trained':>7}{'rate':>7}  {'new digits':<16}  {'old digits':<16} moved"


@dataclass(frozen=True)
class Adapted:
    """One method at one rate, with `count` images of each new digit: three seeds.

    validation: mean accuracy on the images that the rate is chosen with.
    new, old: accuracy on the new digits' test images, and of the old head on the old digits'.
    loss: mean loss on the new digits' test images, in nats. size: mean of ||W - W0|| / ||W0||.
    """

    method: str
    count: int
    rate: float
    trained: int
    validation: float
    new: Ends
    old: Ends
    loss: float
    size: float

    def __str__(self) -> str:
        """A narrow row below HEADER. From scratch nothing was there to forget or to move."""
        new, old = (f"{m:.2f} ({low:.2f}-{high:.2f})" for low, m, high in (self.new, self.old))
        row = f"{self.method:<12}{self.trained:>7,}{self.rate:>7g}  {new}"
        return row if self.method == "from scratch" else f"{row}  {old}  {self.size:>4.0%}"


def adaptations(count: int) -> dict[str, list[Adapted]]:
    """{method: its points by ascending rate}, with so many images of each new digit.

    Raises ValueError for a count that was not swept.
    """
    runs = recorded_runs("vision")
    known = sorted({run["count"] for run in runs})
    if count not in known:
        raise ValueError(f"no sweep with {count} images; {nearest(str(count), map(str, known))}")
    found: dict[str, list[Adapted]] = {}
    points = dict.fromkeys((r["method"], r["rate"]) for r in runs if r["count"] == count)
    for method, rate in sorted(points, key=lambda point: point[1]):
        same = [r for r in runs if (r["method"], r["count"], r["rate"]) == (method, count, rate)]
        found.setdefault(method, []).append(_of(same))
    return {method: found[method] for method, _ in points}


def best(points: Sequence[Adapted]) -> Adapted:
    """The point with the best accuracy on the validation images: the method at its own rate.

    Where two are equal (to a third of an image, since means are rounded), the smaller rate.
    """
    return max(points, key=lambda point: (round(point.validation, 3), -point.rate))


def before() -> Ends:
    """Accuracy of the bases on the old digits, before any adaptation."""
    return _ends(list({r["seed"]: r["old_before"] for r in recorded_runs("vision")}.values()))


def counts() -> list[int]:
    """The numbers of images of each new digit that were swept."""
    return sorted({run["count"] for run in recorded_runs("vision")})


def _of(runs: list[dict]) -> Adapted:
    first = runs[0]
    means = {key: statistics.mean(r[key] for r in runs) for key in ("validation", "loss", "size")}
    accuracies = {key: _ends([run[key] for run in runs]) for key in ("new", "old")}
    known = {key: first[key] for key in ("method", "count", "rate", "trained")}
    return Adapted(**known, **means, **accuracies)


def _ends(values: list[float]) -> Ends:
    return min(values), statistics.mean(values), max(values)
