"""The pictures of lesson 05: one step byte by byte, ledgers as bars, and a card beside them."""

from collections.abc import Mapping, Sequence

import numpy as np

from minipeft.budget.plot import COLORS as ROWS

from ..drawing import panels
from ..figure import COLORS, plt


def step_picture(courses: Mapping[str, Mapping[str, Sequence[int]]]):
    """Lesson 05: what a step takes beyond the model and the optimizer, phase by phase.

    Args:
        courses: {method: {phase: bytes after each allocation}}; a method is a key of COLORS.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    fig, ax = plt.subplots(figsize=(7.2, 3.4))
    phases = list(next(iter(courses.values())))
    ends = np.cumsum([0, *(0.25 if phase == "loss" else 1.0 for phase in phases)])
    for method, course in courses.items():
        sides = zip(ends, ends[1:], phases, strict=False)
        places = np.concatenate([np.linspace(a, b, len(course[p])) for a, b, p in sides])
        heights = np.concatenate([course[phase] for phase in phases]) / 1e6
        color, at = COLORS[method.lower()], int(heights.argmax())
        ax.plot(places, heights, color=color, label=method)
        where = (float(places[at]), float(heights[at]))
        said = f"{method}: {heights[at]:.0f} MB"
        ax.annotate(said, where, (8, 2), textcoords="offset points", color=color)
    for begin, end, phase in zip(ends, ends[1:], phases, strict=False):
        ax.axvline(begin, color=COLORS["muted"], linewidth=0.8)
        middle = (begin + end) / 2
        ax.text(middle, 1.02, phase, transform=ax.get_xaxis_transform(), ha="center")
    ax.set(xlim=(0, ends[-1]), ylim=(0, None), xticks=[], ylabel="MB (10^6 bytes)")
    peaks = {m: {p: max(course[p]) / 1e6 for p in phases} for m, course in courses.items()}
    told = []
    for method, found in peaks.items():
        highest = max(found, key=found.get)
        told.append(f"{method} has its peak of {found[highest]:.1f} MB in the phase '{highest}'")
    alt = "Bytes of one training step rise in the forward pass and fall in the backward pass: "
    alt += f"{'; '.join(told)}."
    return fig, alt, {f"{m}, MB": list(found.values()) for m, found in peaks.items()}


def ledger_picture(ledgers: Mapping[str, Mapping[str, int]]):
    """Lesson 05: one bar for each ledger, its rows side by side.

    Args:
        ledgers: {name of the bar: {row: bytes}}, with the rows of `memory_budget`.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    fig, ax = plt.subplots(figsize=(7.2, 0.9 + 0.42 * len(ledgers)))
    bars = {name: in_mb(rows) for name, rows in ledgers.items()}
    stack(ax, bars)
    ax.set_xlabel("MB (10^6 bytes)")
    told = [f"{name} {sum(rows.values()):.1f}" for name, rows in bars.items()]
    alt = f"All rows together, in MB: {'; '.join(told)}."
    return (
        fig,
        alt,
        {row: [rows[row] for rows in bars.values()] for row in next(iter(bars.values()))},
    )


def in_mb(rows: Mapping[str, int]) -> dict[str, float]:
    """What is in memory, in units of 10^6 bytes; the adapter's file lies on disk."""
    return {row: count / 1e6 for row, count in rows.items() if row in ROWS}


def stack(ax, bars: Mapping[str, Mapping[str, float]]) -> None:
    """Horizontal bars, the first on top, each made of its rows in their colours."""
    drawn = [row for row in ROWS if any(rows.get(row) for rows in bars.values())]
    left = np.zeros(len(bars))
    for row in drawn:
        sizes = np.array([rows.get(row, 0) for rows in bars.values()])
        ax.barh(list(bars), sizes, left=left, color=ROWS[row], label=row, height=0.66)
        left += sizes
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend(ncols=4, loc="lower left", bbox_to_anchor=(-0.02, 1.0), fontsize=9)


def saving_picture(batches: Sequence[int], peaks: Mapping[str, Sequence[int]], levels: Mapping):
    """Lesson 05: peaks by batch size, and what each method saves against the first one.

    Args:
        peaks: {method: bytes by batch}, full fine-tuning first.
        levels: {"name": per cent saved}: published figures, as dotted lines.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    in_gb = {name: np.array(found) / 1e9 for name, found in peaks.items()}
    first, *others = in_gb
    saved = {name: 100 * (1 - in_gb[name] / in_gb[first]) for name in others}
    colors = dict(zip(in_gb, ("full", "lora", "second"), strict=True))
    common = {"x": batches, "ticks": batches, "xlabel": "texts in a batch", "colors": colors}
    left = {"series": in_gb, "ylabel": "peak, GB (10^9 bytes)", "log": "xy", **common}
    right = {"series": saved, "levels": levels, "log": "x", **common}
    right |= {"ylabel": "saved against full, %", "ylim": (-20, 100)}
    fig = panels(left, right, size=(10, 3.4))
    told = [
        f"{name} saves {part[0]:.0f}% with a batch of {batches[0]} and {part[-1]:.0f}% with "
        f"{batches[-1]}"
        for name, part in saved.items()
    ]
    alt = f"The peak of {first} rises from {in_gb[first][0]:.0f} to {in_gb[first][-1]:.0f} GB; "
    alt += f"{'; '.join(told)}."
    data = {f"{name}, GB": part for name, part in in_gb.items()}
    return fig, alt, data | {f"saved by {name}, %": part for name, part in saved.items()}


def fit_picture(moments: Mapping[str, Mapping[str, int]], room: int, title: str):
    """Lesson 05: the three moments of a step as stacked bars, against a card's memory.

    Args:
        moments: of a MemoryBudget. room: bytes of the card.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    fig, ax = plt.subplots(figsize=(7.6, 3.1))
    bars = {name: {r: n / 2**30 for r, n in rows.items()} for name, rows in moments.items()}
    stack(ax, bars)
    needed = max(sum(rows.values()) for rows in bars.values())
    card = room / 2**30
    ax.axvline(card, color=COLORS["full"], linewidth=2)
    ax.text(card, len(bars) - 0.42, f" the card: {card:g} GiB", va="top")
    ax.set(xlim=(0, 1.25 * max(card, needed)), xlabel="GiB (2^30 bytes)")
    ax.set_ylim(len(bars) - 0.2, -0.5)
    verdict = "fits" if needed <= card else "does not fit"
    fig.suptitle(f"{title}: {verdict}", x=0.02, ha="left", fontsize=11)
    peak = max(bars, key=lambda name: sum(bars[name].values()))
    largest = max(bars[peak], key=bars[peak].get)
    alt = f"{title}: the peak of {needed:.1f} GiB, {peak}, {verdict} into {card:g} GiB. "
    alt += f"The largest row then is {largest} with {bars[peak][largest]:.1f} GiB."
    return fig, alt, {name: [sum(rows.values())] for name, rows in bars.items()}
