"""What `scripts/sweep_golf.py` recorded: entries of the course, each scored from its file."""

import statistics
from dataclasses import dataclass

from minipeft.core.errors import check_choice
from minipeft.course.lessons.recorded import recorded_runs, validated_rate


@dataclass(frozen=True)
class Recorded:
    """One entry at its best learning rate after 120 steps of 8 texts: means over its seeds.

    numbers, bytes, flops, above, own: as on a `Card`. spread: (smallest, largest) of `above`.
    """

    name: str
    rate: float
    numbers: int
    bytes: int
    flops: int
    above: float
    own: float
    spread: tuple[float, float]


def recorded_entries(hole: str) -> list[Recorded]:
    """The entries of a hole, each at the rate whose run of seed 0 did best on validation texts.

    Raises ValueError for a hole without entries.
    """
    runs = recorded_runs("golf")
    check_choice("hole", hole, sorted({run["hole"] for run in runs}))
    runs = [run for run in runs if run["hole"] == hole]
    found = []
    for name in dict.fromkeys(run["entry"] for run in runs):
        mine = [run for run in runs if run["entry"] == name]
        rate = validated_rate(mine)
        same = [run for run in mine if run["rate"] == rate]
        above = [run["above"] for run in same]
        found.append(
            Recorded(
                name=name,
                rate=rate,
                numbers=same[0]["numbers"],
                bytes=same[0]["bytes"],
                flops=same[0]["flops"],
                above=statistics.mean(above),
                own=statistics.mean(run["own"] for run in same),
                spread=(min(above), max(above)),
            )
        )
    return found
