"""Who is ahead: the ranking rule, and which entries nothing beats in every respect."""

from collections.abc import Sequence
from typing import Protocol

from .holes import Hole

RULE = ("numbers", "bytes", "flops", "above")  # less is better in each, the first decides first


class Scored(Protocol):
    """What can be ranked: a card, or the mean of recorded ones."""

    name: str
    numbers: int
    bytes: int
    flops: int
    above: float
    own: float


def dominates(one: Scored, other: Scored, by: Sequence[str] = ("numbers", "above")) -> bool:
    """Whether `one` is nowhere worse than `other`, and somewhere better."""
    pairs = [(getattr(one, key), getattr(other, key)) for key in by]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def pareto(entries: Sequence[Scored], by: Sequence[str] = ("numbers", "above")) -> list[Scored]:
    """The entries that no other dominates, by the first of the keys."""
    front = [one for one in entries if not any(dominates(other, one, by) for other in entries)]
    return sorted(front, key=lambda entry: [getattr(entry, key) for key in by])


def ranked(entries: Sequence[Scored], hole: Hole) -> list[Scored]:
    """Best first: those within the bound by RULE, then the others by how far they are above it."""

    def place(entry: Scored) -> tuple:
        if entry.above <= hole.bound:
            return 0, *(getattr(entry, key) for key in RULE)
        return 1, entry.above, entry.numbers, entry.bytes, entry.flops

    return sorted(entries, key=place)


def table(entries: Sequence[Scored], hole: Hole) -> str:
    """The ranking in words; losses are nats above the floors."""
    columns = f"{'numbers':>8} {'bytes':>8} {'FLOPs':>9} {'above':>5} {'own':>4}  par"
    lines = [f"{'':>24} {columns}"]
    for rank, entry in enumerate(ranked(entries, hole), 1):
        within = entry.above <= hole.bound
        told = f"{hole.under_par(entry.numbers)} under" if within else "not in"
        lines.append(
            f"{rank if within else '-':>2} {entry.name[:21]:<21} {entry.numbers:>8,} "
            f"{entry.bytes:>8,} {entry.flops:>9,} {entry.above:>5.2f} {entry.own:>4.1f}  {told}"
        )
    return "\n".join(lines)
