"""The two pictures of a page: ratios beside their limits, and curves of growth beside theory."""

from math import ceil, floor, log10

from minipeft.course.lab.figure import COLORS, plt, png

CURVES = {"ours": ("minipeft", "lora", "-"), "peft": ("peft", "base", "-")}
CURVES |= {"theory": ("theory", "floor", ":")}
TIMES = (
    ("training step", "rank"),
    ("training step", "width"),
    ("training step", "layers"),
    ("training step", "length"),
    ("mixed forward", "adapters in the batch"),
    ("switch", "adapters loaded"),
)


def draw_ratios(rows: list[dict]) -> bytes:
    """A dot and a bar for each row that has a ratio, a tick at its limit."""
    rows = [row for row in rows if row["other"] is not None][::-1]
    fig, ax = plt.subplots(figsize=(9, 0.6 + 0.27 * len(rows)))
    for height, row in enumerate(rows):
        figure, at_most = row["ratio"], row["at_most"]
        holds = at_most is None or figure["median"] <= at_most
        color = COLORS["lora"] if holds else COLORS["wrong"]
        ax.plot([figure["low"], figure["high"]], [height, height], color=color, alpha=0.5)
        ax.plot(figure["median"], height, "o", color=color)
        if at_most is not None:
            ax.plot(at_most, height, "|", color=COLORS["full"], markersize=11)
    ax.axvline(1, color=COLORS["floor"], linewidth=0.8)
    ax.set_xscale("log")
    ax.set_yticks(range(len(rows)), [f"{row['what']} / {row['against']}" for row in rows], size=7)
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ax.set_xlabel("ours / other (dot: median, bar: quartiles, tick: at most)", loc="right")
    return png(fig)


def draw_growth(points: list[dict]) -> bytes:
    """A panel of time and, below it, one of memory for each thing that grows."""
    fig, axes = plt.subplots(4, 3, figsize=(10, 11))
    for number, (what, grows) in enumerate(TIMES):
        chosen = [p for p in points if (p["what"], p["grows"]) == (what, grows)]
        row, column = divmod(number, 3)
        time, memory = axes[2 * row, column], axes[2 * row + 1, column]
        curves(time, chosen, "seconds", 1000)
        curves(memory, chosen, "bytes", 1e-6)
        time.set(title=f"time of a {what}", ylabel="ms", xlabel=grows)
        kept = "memory of base and adapters"
        title = kept if what == "switch" else f"peak memory of a {what}"
        memory.set(title=title, ylabel="MB", xlabel=grows)
    return png(fig)


def curves(ax, points: list[dict], key: str, factor: float) -> None:
    """One line for each library and one for theory, on logarithmic axes of whole decades."""
    heights = []
    for name, (label, color, style) in CURVES.items():
        drawn = [(p["value"], factor * p[key][name]) for p in points if name in p[key]]
        if drawn:
            marker = "" if name == "theory" else "o"
            ax.plot(
                *zip(*drawn, strict=True),
                linestyle=style,
                marker=marker,
                markersize=4,
                color=COLORS[color],
                label=label,
            )
            heights += [height for _, height in drawn]
    ax.set_xscale("log")
    ax.set_yscale("log")
    values = [p["value"] for p in points]
    ax.set_xticks(values, [str(value) for value in values])
    ax.set_xticks([], minor=True)
    if heights:
        ax.set_ylim(10 ** floor(log10(min(heights))), 10 ** ceil(log10(max(heights))))
        ax.legend(fontsize=8)
