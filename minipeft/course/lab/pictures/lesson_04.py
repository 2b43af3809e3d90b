"""The pictures of lesson 04: a block's matrices to scale, counts by method, counts in print."""

from collections.abc import Mapping, Sequence

from ..figure import COLORS, plt

Shapes = Mapping[str, tuple[int, int]]
COLOR_OF = {"rsLoRA": "rslora", "DoRA": "dora", "AdaLoRA": "adalora", "VeRA": "vera"}
COLOR_OF |= {"LoRA": "lora", "PiSSA": "pissa", "BitFit": "bitfit", "diff pruning": "diff"}
COLOR_OF |= {"(IA)3": "ia3", "adapters": "houlsby", "Houlsby": "houlsby", "Pfeiffer": "pfeiffer"}
COLOR_OF |= {"parallel": "parallel", "prefix": "prefix", "prompt": "prompt"}
COLOR_OF |= {"P-tuning": "p-tuning", "last block": "partial", "norms": "partial", "full": "full"}


def color_of(method: str) -> str:
    """The colour of a method, by the first word or words of its name."""
    return COLORS[COLOR_OF[max((n for n in COLOR_OF if method.startswith(n)), key=len)]]


def shapes_picture(models: Mapping[str, Shapes]):
    """A block of each model: its seven matrices to scale, A below each and B beside it.

    Args:
        models: {"model": {"q_proj": (out, in), ...}}.

    A and B are drawn thicker than they are, for at this scale they would be lines.
    """
    unit = 1 / max(max(shape) for shapes in models.values() for shape in shapes.values())
    right = max(sum(room(width * unit) for _, width in s.values()) for s in models.values())
    fig, axes = plt.subplots(len(models), 1, figsize=(9, 2.7 * len(models)))
    for ax, (model, shapes) in zip(axes, models.items(), strict=True):
        left, thin = 0.0, 0.035
        for name, (rows, columns) in shapes.items():
            width, height = columns * unit, rows * unit
            ax.add_patch(plt.Rectangle((left, 0), width, height, color=COLORS["muted"]))
            for corner, sides in {
                (left, -2 * thin): (width, thin),
                (left + width + thin, 0): (thin, height),
            }.items():
                ax.add_patch(plt.Rectangle(corner, *sides, color=COLORS["lora"]))
            text = f"{name.removesuffix('_proj')}\n{rows:,} x {columns:,}"
            ax.text(left + width / 2, -0.12, text, ha="center", va="top", fontsize=8)
            if name == "q_proj":
                letters = {"color": COLORS["lora"], "fontsize": 9, "va": "center"}
                ax.text(left - 0.02, -1.5 * thin, "A", ha="right", **letters)
                ax.text(left + width + 3 * thin, height / 2, "B", ha="left", **letters)
            left += room(width)
        ax.text(0, 0.95, model, fontweight="bold", va="top")
        ax.set(xlim=(-0.12, right), ylim=(-0.36, 1.02), aspect="equal")
        ax.axis("off")
    return fig


def room(width: float) -> float:
    """The space that a matrix of this width takes, with its words and the gap after it."""
    return max(width, 0.36) + 0.14


def methods_picture(counts: Mapping[str, int], base: int):
    """One bar for each method on a logarithmic axis, the fewest at the top, beside the base.

    Args:
        counts: {"method": numbers trained}. base: the numbers of the model.
    """
    ordered = sorted(counts, key=counts.get)
    fig, ax = plt.subplots(figsize=(8, 0.27 * len(counts) + 1))
    for place, method in enumerate(ordered):
        ax.barh(place, counts[method], 0.7, color=color_of(method))
        ax.text(counts[method] * 1.15, place, f"{counts[method]:,}", va="center", fontsize=8)
    ax.axvline(base, color=COLORS["floor"], linestyle=":")
    ax.text(base, -1.0, "the base", ha="center", va="bottom", color=COLORS["base"], fontsize=8)
    ax.set_yticks(range(len(ordered)), ordered, fontsize=8.5)
    ax.set(xscale="log", xlim=(min(counts.values()) / 2, base * 30), xlabel="numbers trained")
    ax.grid(axis="y", visible=False)
    ax.invert_yaxis()
    return fig


def counter_picture(kinds: Mapping[str, tuple[int, int]], method: str, title: str):
    """For each kind of matrix its numbers in the base, in grey, and what is trained there.

    Args:
        kinds: of `counter.by_kind`. method: for the colour. title: the choice and its sum.
    """
    fig, ax = plt.subplots(figsize=(7.6, 3.8))
    for place, (base, trained) in enumerate(kinds.values()):
        ax.barh(place, max(base, 1), 0.78, left=1, color=COLORS["muted"])
        if trained:
            ax.barh(place, trained, 0.42, left=1, color=color_of(method))
            ax.text(trained * 1.2, place, f"{trained:,}", va="center", fontsize=8.5)
    ax.set_yticks(range(len(kinds)), [kind.removesuffix("_proj") for kind in kinds])
    ax.set(xscale="log", xlim=(1e2, 1e11), xlabel="numbers in all blocks (grey: the base's)")
    ax.set_title(title, fontsize=9.5)
    ax.grid(axis="y", visible=False)
    ax.invert_yaxis()
    return fig


def published_picture(ratios: Mapping[str, Sequence[tuple[float, bool]]]):
    """Every printed figure over the counted one, a row for each source.

    Args:
        ratios: {"source": [(printed / counted, whether it follows), ...]}.
    """
    fig, ax = plt.subplots(figsize=(8, 0.3 * len(ratios) + 1.1))
    ax.axvline(1, color=COLORS["floor"], zorder=0)
    for place, points in enumerate(ratios.values()):
        for follows, mark, size, color in ((True, "o", 6, "base"), (False, "D", 8, "wrong")):
            xs = [ratio for ratio, right in points if right == follows]
            ax.plot(xs, [place] * len(xs), mark, color=COLORS[color], markersize=size)
        off = sum(not right for _, right in points)
        style = {"fontsize": 8.5, "color": COLORS["wrong" if off else "base"]}
        ax.text(5.6, place, f"{off} of {len(points)} differ", va="center", **style)
    ax.set_yticks(range(len(ratios)), list(ratios), fontsize=9)
    ax.set(xscale="log", xlim=(0.15, 5), xlabel="printed / counted")
    ax.set_xticks([0.2, 0.5, 1, 2, 4], ["0.2", "0.5", "1", "2", "4"])
    ax.minorticks_off()
    ax.grid(axis="y", visible=False)
    ax.invert_yaxis()
    return fig
