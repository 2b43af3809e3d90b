"""Pictures that lessons draw often, in one call: lines with their names at the ends, panels, bars.

A lesson says what is drawn, and which method or meaning each line has; colours, dashes and places
of the labels are decided here, alike in the whole course.
"""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import NullLocator

from .figure import COLORS, label_lines, plt
from .numerals import rounded

STYLES = ("-o", "--s", ":^", "-.D")


def lines(series: Mapping, x: Sequence | None = None, size=(6.4, 3.6), **options):
    """A figure of one or more lines; see `draw_lines` for the options."""
    fig, ax = plt.subplots(figsize=size)
    draw_lines(ax, series, x, **options)
    return fig


def panels(*parts: dict, size=(9, 3.4), widths: Sequence | None = None, same_y: bool = False):
    """A figure of panels side by side, each the keyword arguments of `draw_lines` or `draw_bars`.

    A panel of bars is one that has the key `bars`.
    """
    fig, axes = plt.subplots(1, len(parts), figsize=size, width_ratios=widths, sharey=same_y)
    for ax, part in zip(axes, parts, strict=True):
        draw_bars(ax, **part) if "bars" in part else draw_lines(ax, **part, labels=False)
    for ax, part in zip(axes, parts, strict=True):  # when shared axes have their last limits
        if "bars" not in part:
            label_lines(ax, gap=0.075)
    return fig


def draw_lines(
    ax,
    series: Mapping,
    x: Sequence | None = None,
    *,
    colors: Mapping | None = None,
    styles: Mapping | None = None,
    levels: Mapping | None = None,
    log: str = "",
    ticks: Sequence | None = None,
    labels: bool = True,
    **settings,
) -> None:
    """Draw lines on one axis.

    Args:
        series: {"name": y} or {"name": (x, y)}, or (x, lows, y, highs) to show a spread.
        x: positions of every series that brings none; counted from 1 if missing.
        colors: {"name": key of COLORS}; otherwise the name itself where it is such a key.
        styles: {"name": a matplotlib format}, as in "--" or "o".
        levels: {"name": height}: dotted lines across, such as a floor.
        log: "x", "y" or "xy".
        ticks: places on the x axis, written as plain numbers.
        labels: whether to write names at the line ends.
        settings: anything that `ax.set` takes: xlabel, ylabel, title, xlim, ylim.
    """
    for number, (name, values) in enumerate(series.items()):
        xs, low, ys, high = _parts(values, x)
        color = _color(name, number, colors)
        style = (styles or {}).get(name, STYLES[number % len(STYLES)] if len(ys) < 16 else "-")
        ax.plot(xs, ys, style, color=color, label=name)
        if low is not None:
            ax.fill_between(xs, low, high, color=color, alpha=0.2, linewidth=0)
    for name, height in (levels or {}).items():
        ax.axhline(height, color=COLORS["floor"], linestyle=":", label=name, zorder=0)
    if "x" in log:
        ax.set_xscale("log")
        _plain_numbers(ax.xaxis, *ax.get_xlim())
    if "y" in log:
        ax.set_yscale("log")
        _plain_numbers(ax.yaxis, *ax.get_ylim())
    if ticks is not None:
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.xaxis.minorticks_off()
    ax.set(**settings)
    if labels:
        label_lines(ax, gap=0.075)


def draw_bars(ax, bars: Mapping, *, colors: Mapping | None = None, levels=None, **settings) -> None:
    """Draw one bar for each name, its height written above it; the options as in `draw_lines`."""
    for number, (name, height) in enumerate(bars.items()):
        ax.bar([name], [height], 0.6, color=_color(name, number, colors))
        ax.text(number, height, rounded(height), ha="center", va="bottom")
    for name, height in (levels or {}).items():
        ax.axhline(height, color=COLORS["floor"], linestyle=":", label=name)
        ax.text(len(bars) - 0.5, height, name, color=COLORS["base"], va="bottom", ha="right")
    ax.set(**settings)


def _parts(values, x):
    """(x, low, y, high) of one series."""
    if isinstance(values, tuple) and len(values) == 4:
        return values
    if isinstance(values, tuple) and len(values) == 2:
        return values[0], None, values[1], None
    values = list(values)
    return (range(1, len(values) + 1) if x is None else x), None, values, None


def _color(name: str, number: int, colors: Mapping | None) -> str:
    key = (colors or {}).get(name, name)
    return (
        COLORS[key] if key in COLORS else COLORS[("first", "second", "third", "wrong")[number % 4]]
    )


def _plain_numbers(axis, low: float, high: float) -> None:
    """0.2, 1, 5 in place of powers of ten, as many as fit between the ends of the axis."""
    steps = [n * 10.0**p for p in range(-4, 5) for n in (1, 2, 5)]
    inside = [step for step in steps if low <= step <= high]
    if len(inside) > 8:
        inside = [step for step in inside if f"{step:e}"[0] == "1"]
    axis.set_ticks(inside, [f"{step:g}" for step in inside])
    axis.set_minor_locator(NullLocator())
