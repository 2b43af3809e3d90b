"""The two pictures of a page: ratios beside their limits, and curves of growth beside theory."""

from minipeft.course.figures import COLORS, plt, png

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
    ax.set_xlabel("ours / other (dot: median, bar: quartiles, tick: at most)")
    return png(fig)


def draw_growth(points: list[dict]) -> bytes:
    """Time above, memory below; a column for each thing that grows."""
    fig, axes = plt.subplots(2, len(TIMES), figsize=(3 * len(TIMES), 6))
    for column, (what, grows) in enumerate(TIMES):
        chosen = [p for p in points if (p["what"], p["grows"]) == (what, grows)]
        for ax, key, factor, unit in zip(
            axes[:, column], ("seconds", "bytes"), (1000, 1e-6), ("ms", "MB"), strict=True
        ):
            curves(ax, chosen, key, factor)
            ax.set_xlabel(grows)
            ax.set_ylabel(unit)
        axes[0, column].set_title(f"time of a {what}")
        axes[1, column].set_title("peak memory" if what != "switch" else "memory")
    return png(fig)


def curves(ax, points: list[dict], key: str, factor: float) -> None:
    """One line for each library and one for theory, on logarithmic axes."""
    for name, (label, color, style) in CURVES.items():
        drawn = [(p["value"], factor * p[key][name]) for p in points if name in p[key]]
        if drawn:
            ax.plot(*zip(*drawn, strict=True), style, color=COLORS[color], label=label)
            ax.lines[-1].set_marker("" if name == "theory" else "o")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.legend(fontsize=8)
