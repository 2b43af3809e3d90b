"""The pictures of lesson 17: a ring step by step, what arrives by layout, and by processes."""

from collections.abc import Mapping, Sequence

from ...lessons.layouts import LAYOUTS
from ...lessons.wire import Run
from ..drawing import draw_lines
from ..figure import COLORS, label_lines, plt

Picture = tuple[object, str, dict]  # (figure, alt text, data), as `figure` takes them
KINDS = {"frozen weights": "base", "trained weights": "lora", "gradients": "second"}
LINES = {"DDP": "lora", "FSDP2": "wrong", "FSDP2 once": "second"}
METHODS = {"full": "full", "lora": "lora", "qlora": "qlora"}


def ring_picture(steps: Sequence[Sequence[Sequence[int]]]) -> Picture:
    """Lesson 17: how many processes' numbers are in each chunk of each process, step by step.

    steps: for each step the table [process][chunk].
    """
    count = len(steps[0])
    fig, axes = plt.subplots(1, len(steps), figsize=(1.42 * len(steps), 2.1))
    for number, (ax, table) in enumerate(zip(axes, steps, strict=True)):
        ax.imshow(table, cmap="Blues", vmin=0, vmax=1.6 * count)
        for process, row in enumerate(table):
            for chunk, summed in enumerate(row):
                full = summed == count
                weight = "bold" if full else "normal"
                color = "white" if full else COLORS["full"]
                ax.text(
                    chunk, process, summed, ha="center", va="center", weight=weight, color=color
                )
        title = f"after {number}" if number else "before"
        ax.set(title=title, xticks=[], yticks=range(count) if number == 0 else [], xlabel="chunk")
        ax.grid(False)
    axes[0].set_ylabel("process")
    done = [sum(summed == count for row in table for summed in row) for table in steps]
    first = next(i for i, finished in enumerate(done) if finished)
    alt = f"{count} processes with {count} chunks each. After step {first} each process has one "
    alt += f"chunk that is the sum of all {count}; after step {len(steps) - 1} all {done[-1]} "
    alt += "chunks are sums of all."
    return fig, alt, {"finished chunks after each step": done}


def arrivals_picture(parts: Mapping[str, Mapping[str, float]], counted: Mapping) -> Picture:
    """Lesson 17: what reaches each process in a step, by what it is, predicted and counted.

    Args:
        parts: {setting: {what: bytes}}, with the keys of KINDS.
        counted: {setting: bytes that arrived}, drawn as marks.
    """
    fig, ax = plt.subplots(figsize=(7.6, 0.9 + 0.44 * len(parts)))
    left = [0.0] * len(parts)
    for kind, color in KINDS.items():
        widths = [found.get(kind, 0.0) / 1e6 for found in parts.values()]
        ax.barh(list(parts), widths, left=left, color=COLORS[color], label=kind, height=0.6)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    marks = [counted[setting] / 1e6 for setting in parts]
    ax.plot(marks, list(parts), "D", color=COLORS["wrong"], markersize=6, label="counted")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="MB (10^6 bytes) that reach each process in one step", xlim=(0, 1.08 * max(left)))
    ax.legend(ncols=4, loc="lower left", bbox_to_anchor=(-0.02, 1.0), fontsize=9)
    told = [
        f"{setting} {total:.2f} MB, {found.get('frozen weights', 0) / 1e6 / total:.0%} of it frozen"
        for (setting, found), total in zip(parts.items(), left, strict=True)
    ]
    alt = f"Arriving at each process in one step: {'; '.join(told)}."
    data = {kind: [found.get(kind, 0.0) / 1e6 for found in parts.values()] for kind in KINDS}
    return fig, alt, data | {"counted": marks}


def growth_picture(runs: Sequence[Run], predicted: Mapping[str, Sequence], yours: Run) -> Picture:
    """Lesson 17: what arrives by the number of processes, predicted as lines, recorded as points.

    predicted: {setting: bytes with 2, 3, .. processes}; yours: the live run of one setting.
    """
    fig, ax = plt.subplots(figsize=(7.2, 3.8))
    colors = {s: METHODS[s.split()[1]] for s in predicted}
    styles = {s: "--" if s.startswith("DDP") else "-" for s in predicted}
    lines = {s: [n / 1e6 for n in found] for s, found in predicted.items()}
    ticks = sorted({run.processes for run in runs})
    settings = {"xlabel": "processes", "ylabel": "MB (10^6 bytes) that arrive"}
    x = range(2, 2 + len(next(iter(lines.values()))))
    draw_lines(ax, lines, x, colors=colors, styles=styles, log="y", ticks=ticks, labels=False)
    found = {s: [(r.processes, r.arrived / 1e6) for r in runs if r.setting == s] for s in predicted}
    for setting, points in found.items():
        ax.plot(*zip(*points, strict=True), "o", color=COLORS[colors[setting]], label="_points")
    ax.plot(yours.processes, yours.arrived / 1e6, "*", color=COLORS["wrong"], markersize=15)
    ax.set(**settings, xlim=(1.8, ticks[-1] + 0.1))
    label_lines_without_points(ax)
    ends = ", ".join(f"{s} {points[-1][1]:.2f}" for s, points in found.items())
    alt = f"Recorded MB that arrive in one step with {ticks[-1]} processes: {ends}. "
    alt += f"Your run of {yours.setting} with {yours.processes}: {yours.arrived / 1e6:.2f}."
    return fig, alt, {s: [n for _, n in points] for s, points in found.items()}


def label_lines_without_points(ax) -> None:
    """Names at the ends of lines alone: points without a name have none."""
    for line in ax.get_lines():
        if line.get_marker() == "*":
            line.set_label("_yours")
    label_lines(ax, gap=0.075)


def layouts_picture(
    processes: Sequence[int], arriving: Mapping[str, Sequence[float]], title: str
) -> Picture:
    """Lesson 17's widget: GB that reach each card in a step, by layout and number of cards."""
    fig, ax = plt.subplots(figsize=(7.2, 3.8))
    series = {layout: [n / 1e9 for n in arriving[layout]] for layout in LAYOUTS}
    ax.set_ylim(0.03, 900)  # the same at each position
    names = {"DDP": "DDP", "FSDP2": "FSDP2", "FSDP2 once": "FSDP2, gathered once"}
    shown = {names[layout]: values for layout, values in series.items()}
    draw_lines(
        ax,
        shown,
        processes,
        colors={names[layout]: color for layout, color in LINES.items()},
        styles={"DDP": "-o", "FSDP2": "-s", "FSDP2, gathered once": "--^"},
        log="xy",
        ticks=processes,
        title=title,
        xlabel="cards",
        ylabel="GB (10^9 bytes) in one step",
    )
    at = list(processes).index(8)
    told = ", ".join(f"{names[layout]} {series[layout][at]:.3g}" for layout in LAYOUTS)
    seconds = ", ".join(f"{series[layout][at] / 1.25:.2g}" for layout in LAYOUTS)
    alt = f"{title}: with 8 cards, GB that reach each one in a step: {told}. "
    alt += f"At 10 Gbit/s that takes {seconds} s."
    return fig, alt, shown
