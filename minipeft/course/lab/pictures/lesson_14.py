"""The pictures of lesson 14: the frontier, rates, intruder dimensions, attention by distance."""

from collections.abc import Mapping, Sequence

from ...lessons.frontier import Point
from ..drawing import draw_lines
from ..figure import COLORS, label_lines, plt

Picture = tuple[object, str, dict]  # (figure, alt text, data), as `figure` takes them

# One blue for each rank, darker with the rank; the other methods as in the whole course.
BLUES = {1: "#9ECAE1", 4: "#4F9FD0", 8: "#0072B2", 16: "#08519C", 64: "#06274D"}
STYLES = {"lora, r = 1": ":^", "lora, r = 4": "--s", "lora, r = 8": "-.D", "lora, r = 64": "-v"}
NAMES = {"dora, r = 8": "dora", "last block": "partial"}
TASK, OWN = "new task: loss above its floor", "own world: loss above its floor"


def color_of(method: str) -> str:
    """The colour of a method, a LoRA's by its rank."""
    if method.startswith("lora, r = "):
        return BLUES[int(method.removeprefix("lora, r = "))]
    return COLORS[NAMES.get(method, method)]


def _curve(ax, method: str, x: Sequence[float], y: Sequence[float], **options) -> None:
    style = STYLES.get(method, "-o")
    ax.plot(x, y, style, ms=4.5, color=color_of(method), label=method, **options)


def frontier_picture(curves: Mapping[str, list[Point]], mine: tuple, level: float) -> Picture:
    """What was learned against what was forgotten, in two panels: LoRA's ranks, other methods.

    mine: (learned, forgotten) of the lesson's own run. level: where the caption compares.
    """
    fig, axes = plt.subplots(1, 2, figsize=(9.6, 4.0), sharey=True, sharex=True)
    ranks = [m for m in curves if m.startswith("lora")]
    others = [m for m in curves if not m.startswith("lora")]
    for ax, methods, title in zip(
        axes, (["full", *ranks], others), ("full and LoRA by rank", "full and other methods"),
        strict=True,
    ):  # fmt: skip
        for method in methods:
            points = curves[method]
            _curve(ax, method, [p.learned for p in points], [p.forgotten for p in points])
        ax.axvline(level, color=COLORS["floor"], linestyle=":", zorder=0)
        ax.set(xscale="log", yscale="log", title=title, xlabel=TASK)
        ax.legend(fontsize=8, loc="lower left")
    axes[0].plot(*mine, "D", color=COLORS["wrong"], ms=7, zorder=4)
    axes[0].annotate("your run", mine, xytext=(-56, 5), textcoords="offset points",
                     color=COLORS["wrong"], fontsize=9)  # fmt: skip
    axes[0].set_ylabel(OWN)
    for axis in (axes[0].xaxis, axes[0].yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    best = {m: min(points, key=lambda p: p.learned) for m, points in curves.items()}
    said = ", ".join(f"{m} {p.learned:.2f} ({p.forgotten:.1f})" for m, p in best.items())
    alt = "Each method from its smallest rate, at the lower right, to its largest, at the top. "
    alt += f"Best loss above the task's floor, in brackets what was forgotten then: {said}. "
    alt += f"Your run: {mine[0]:.2f} ({mine[1]:.1f}). The dotted line is at {level}."
    return fig, alt, {m: [p.forgotten for p in points] for m, points in curves.items()}


def rates_picture(curves: Mapping[str, list[Point]]) -> Picture:
    """The loss above the task's floor against the learning rate, with the seeds' spread."""
    fig, ax = plt.subplots(figsize=(7.6, 3.8))
    for method, points in curves.items():
        rates = [p.rate for p in points]
        low, high = zip(*(p.spread for p in points), strict=True)
        ax.fill_between(rates, low, high, color=color_of(method), alpha=0.15, linewidth=0)
        _curve(ax, method, rates, [p.learned for p in points])
    ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel=TASK)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    label_lines(ax, gap=0.07)
    best = {m: min(points, key=lambda p: p.learned) for m, points in curves.items()}
    alt = "Each curve is a U. Its lowest point: "
    alt += ", ".join(f"{m} at rate {p.rate:g}" for m, p in best.items()) + "."
    return fig, alt, {m: [p.learned for p in points] for m, points in curves.items()}


def intruders_picture(curves: Mapping[str, list[Point]]) -> Picture:
    """Intruder dimensions against the size of the update, and against what was forgotten."""
    fig, axes = plt.subplots(1, 2, figsize=(9.4, 3.8), sharey=True)
    watched = {m: [p for p in points if p.intruders is not None] for m, points in curves.items()}
    watched = {m: points for m, points in watched.items() if points}
    for method, points in watched.items():
        found = [p.intruders for p in points]
        _curve(axes[0], method, [p.size for p in points], found)
        _curve(axes[1], method, [p.forgotten for p in points], found)
    axes[0].set(xlabel="size of the update, ||W - W0|| / ||W0||", ylabel="intruders, of 280")
    axes[1].set(xlabel=OWN)
    axes[0].legend(fontsize=8, loc="upper left")
    for ax in axes:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    said = ", ".join(
        f"{m} {points[0].intruders:.0f} to {max(p.intruders for p in points):.0f}"
        for m, points in watched.items()
    )
    alt = f"Intruders among 280 leading singular vectors, from the smallest rate up: {said}."
    return fig, alt, {m: [p.intruders for p in points] for m, points in watched.items()}


def distance_picture(shares: Mapping[str, Sequence[float]]) -> Picture:
    """Share of attention by distance, of several networks; the first is the base."""
    fig, ax = plt.subplots(figsize=(7.2, 3.6))
    series = {name: [100 * share for share in values] for name, values in shares.items()}
    distances = range(len(next(iter(series.values()))))
    palette = ("base", "lora", "wrong", "third")
    draw_lines(
        ax, series, distances, colors=dict(zip(series, palette, strict=False)),
        styles=dict.fromkeys(series, "-o"), xlabel="tokens back", ylabel="share of attention (%)",
        ylim=(0, None),
    )  # fmt: skip
    base, *others = series
    moved = {
        n: sum(abs(a - b) for a, b in zip(series[n], series[base], strict=True)) for n in others
    }
    alt = "Attention by distance. Sum of the changes against the base, in percentage points: "
    alt += ", ".join(f"{name} {points:.0f}" for name, points in moved.items()) + "."
    return fig, alt, series


def chosen_picture(curves: Mapping[str, list[Point]], r: int, number: int) -> Picture:
    """Lesson 14's widget: one LoRA on the frontier, its rank and its rate chosen.

    number: of the rate, from the smallest.
    """
    fig, ax = plt.subplots(figsize=(7.2, 4.0))
    method = f"lora, r = {r}"
    for name, points in curves.items():
        strong = name in (method, "full")
        _curve(ax, name, [p.learned for p in points], [p.forgotten for p in points],
               alpha=1 if strong else 0.25)  # fmt: skip
    point = curves[method][min(number, len(curves[method]) - 1)]
    ax.plot(point.learned, point.forgotten, "D", color=COLORS["wrong"], ms=10, zorder=4)
    ax.set(xscale="log", yscale="log", xlabel=TASK, ylabel=OWN)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.legend(fontsize=8, loc="lower left")
    told = f"learned to {point.learned:.2f}, forgot {point.forgotten:.2f}"
    ax.set_title(
        f"r = {r}, rate {point.rate:g}: {told}\n{point.trained:,} trained, "
        f"update {point.size:.0%} of W0", fontsize=10
    )  # fmt: skip
    alt = f"LoRA of rank {r} at rate {point.rate:g}: {point.learned:.2f} above the task's floor, "
    alt += f"{point.forgotten:.2f} above the own world's; {point.trained:,} numbers trained; the "
    alt += f"update is {point.size:.0%} of W0."
    return fig, alt, {"learned": point.learned, "forgotten": point.forgotten, "size": point.size}
