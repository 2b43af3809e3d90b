"""The pictures of lesson 08: the places in a block, gates over training, the comparison."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from ...lessons.places import METHODS, OUTSIDE, touched
from ...lessons.recorded import Tuned
from ...lessons.selective import Chosen
from ..drawing import draw_lines, panels
from ..figure import COLORS, plt

Picture = tuple[object, str, dict]  # (figure, alt text, data), as `figure` takes them

# place: (x, y, width, height) of its box, in the units of the block's picture
BOXES = {
    "prompt": (0.1, 3.35, 1.0, 0.7),
    "embeddings": (0.1, 2.2, 1.0, 0.7),
    "norm 1": (1.7, 2.2, 0.9, 0.7),
    "q": (3.0, 3.35, 0.8, 0.7),
    "k": (3.0, 2.2, 0.8, 0.7),
    "v": (3.0, 1.05, 0.8, 0.7),
    "attention": (4.3, 1.05, 0.55, 3.0),
    "o": (5.35, 2.2, 0.8, 0.7),
    "norm 2": (6.95, 2.2, 0.9, 0.7),
    "gate": (8.25, 2.9, 0.8, 0.7),
    "up": (8.25, 1.5, 0.8, 0.7),
    "silu, times": (9.5, 1.5, 0.55, 2.1),
    "down": (10.5, 2.2, 0.8, 0.7),
    "last norm": (12.2, 2.2, 1.0, 0.7),
    "head": (12.2, 3.6, 1.0, 0.7),
}
MLP = (8.1, 1.2, 3.35, 2.7)
WIRES = [
    ("embeddings", "norm 1"), ("norm 1", "q"), ("norm 1", "k"), ("norm 1", "v"),
    ("q", "attention"), ("k", "attention"), ("v", "attention"), ("attention", "o"),
    ("o", "norm 2"), ("norm 2", "gate"), ("norm 2", "up"), ("gate", "silu, times"),
    ("up", "silu, times"), ("silu, times", "down"), ("down", "last norm"),
]  # fmt: skip
WITHOUT_NUMBERS = ("attention", "silu, times")


def short(count: int) -> str:
    """A count that fits in a box: 614,400, or 16.8 M."""
    if count < 10**6:
        return f"{count:,}"
    return f"{count / 10**9:.2f} B" if count >= 10**9 else f"{count / 10**6:.1f} M"


def block_picture(method: str, model: str) -> Picture:
    """Lesson 08's widget: the way through one block, and what a method trains at each place."""
    found, told = touched(method, model), METHODS[method]
    color = COLORS[told.color]
    fig, ax = plt.subplots(figsize=(9.6, 3.9))
    _wires(ax)
    if "mlp" in found.places:
        x, y, width, height = MLP
        ax.add_patch(plt.Rectangle((x, y), width, height, fill=False, edgecolor=color, lw=2))
        ax.text(x + width / 2, y - 0.35, f"beside the MLP\n{found.places['mlp']:,}", color=color,
                ha="center", va="center", fontsize=8.5)  # fmt: skip
    for place, box in BOXES.items():
        if place == "prompt" and place not in found.places:
            continue
        _box(ax, place, box, found.places.get(place), color)
    where = {0: "outside the blocks", 1: "in the last block"}.get(
        found.blocks, f"in each of {found.blocks} blocks"
    )
    title = f"{method}: {told.equation}\n{found.total:,} numbers trained; {where}:"
    ax.set_title(title, fontsize=10)
    ax.set(xlim=(0, 13.3), ylim=(0.4, 5.1), aspect="equal")
    ax.axis("off")
    inside, once = (
        ", ".join(f"{p} {n:,}" for p, n in found.places.items() if (p in OUTSIDE) == outside)
        for outside in (False, True)
    )
    listed = "; ".join(filter(None, [inside and f"{where} {inside}", once and f"once {once}"]))
    alt = f"{method} on {model} trains {found.total:,} numbers: {listed}."
    return fig, alt, {"trained": found.total, **found.places}


def _box(ax, place: str, box: tuple, count: int | None, color: str) -> None:
    x, y, width, height = box
    plain = COLORS["muted"] if place in WITHOUT_NUMBERS else "#E9E9E9"
    face = plain if count is None else color
    ax.add_patch(plt.Rectangle((x, y), width, height, facecolor=face, edgecolor="#999999", lw=0.6))
    name = place.replace("last ", "last\n") if place != "silu, times" else "silu,\n×"
    ink = "black" if count is None else "white"
    size = 7.5 if len(place) > 7 else 9
    turned = 90 if place == "attention" else 0
    ax.text(x + width / 2, y + height / 2, name, ha="center", va="center", color=ink,
            fontsize=size, rotation=turned)  # fmt: skip
    if count is not None:
        ax.text(x + width / 2, y - 0.2, short(count), ha="center", va="center", color=color,
                fontsize=8.5)  # fmt: skip


def _wires(ax) -> None:
    line = {"color": COLORS["floor"], "linewidth": 1.1, "zorder": 0}
    for start, end in WIRES:
        (x1, y1, w1, h1), (x2, y2, _, h2) = BOXES[start], BOXES[end]
        left, right = y1 + h1 / 2, y2 + h2 / 2
        if end in WITHOUT_NUMBERS:
            right = left
        if start in WITHOUT_NUMBERS:
            left = right
        ax.plot([x1 + w1, x2], [left, right], **line)
    ax.plot([13.1, 13.1], [2.9, 3.6], **line)
    for begin, end in ((1.4, 6.55), (6.55, 11.8)):  # the residual stream around each half
        ax.plot([begin, begin, end, end], [2.55, 4.4, 4.4, 2.55], **line)
        ring = {"boxstyle": "circle,pad=0.1", "facecolor": "white", "edgecolor": "#999999"}
        ax.text(end, 2.55, "+", ha="center", va="center", fontsize=12, zorder=2, bbox=ring)
    ax.text(1.5, 4.5, "one block: attention", fontsize=8, color=COLORS["base"])
    ax.text(6.65, 4.5, "and MLP", fontsize=8, color=COLORS["base"])


def gates_picture(
    steps: Sequence[int],
    shares: Mapping[str, Sequence[float]],
    snapshots: Mapping[int, np.ndarray],
    planted: np.ndarray,
) -> Picture:
    """Lesson 08: gates of a planted task over training, and one run's gates as pictures.

    Args:
        steps: at which gates were counted.
        shares: {penalty: share of the gates that are open at each step}.
        snapshots: {step: whether each gate is open (out, in)}, of one run.
        planted: the entries that the task changes, (out, in).
    """
    wide = len(snapshots)
    fig, axes = plt.subplots(1, wide + 1, figsize=(11, 3.3), width_ratios=[1.8, *[1] * wide])
    colors = dict(zip(shares, ("second", "diff", "first"), strict=True))
    styles = dict.fromkeys(shares, "-")
    draw_lines(axes[0], shares, steps, colors=colors, styles=styles, log="y", labels=False,
               xlabel="step", ylabel="share of gates open", ylim=(0.008, 1.3),
               levels={"planted": planted.mean()}, title="three penalties")  # fmt: skip
    for (name, values), shift in zip(shares.items(), (9, 8, -9), strict=True):
        axes[0].annotate(f"{name}: {values[-1]:.1%}", (steps[-1], values[-1]), (0, shift),
                         textcoords="offset points", ha="right", color=COLORS[colors[name]],
                         fontsize=8.5, va="center")  # fmt: skip
    rows, columns = np.nonzero(planted)
    for ax, (step, is_open) in zip(axes[1:], snapshots.items(), strict=True):
        ax.imshow(is_open, cmap=_two_colors(), vmin=0, vmax=1)
        ax.plot(columns, rows, "o", markersize=5, markerfacecolor="none", markeredgecolor="black",
                markeredgewidth=0.8)  # fmt: skip
        ax.set(title=f"step {step}: {is_open.mean():.1%}", xticks=[], yticks=[])
        ax.grid(False)
    ends = ", ".join(f"{name} {values[-1]:.1%}" for name, values in shares.items())
    last = snapshots[max(snapshots)]
    alt = f"Open gates at the end, by penalty: {ends}; planted are {planted.mean():.1%}. In the "
    alt += f"pictures, at the last step, {(last & planted).sum() / planted.sum():.0%} of the "
    alt += f"planted entries are open and {(last & ~planted).sum() / planted.size:.1%} are others."
    return fig, alt, {"planted": float(planted.mean()), **shares}


def _two_colors():
    return plt.matplotlib.colors.ListedColormap(["#F2F2F2", COLORS["diff"]])


KINDS = {  # kind of matrix: colour
    "q": "lora", "k": "second", "v": "prefix", "o": "third",
    "gate": "bitfit", "up": "diff", "down": "partial",
}  # fmt: skip


def opened_picture(steps: Sequence[int], shares: Mapping[str, Sequence[float]]) -> Picture:
    """Lesson 08: the share of open gates over training on the base, by kind of matrix."""
    attention = {kind: shares[kind] for kind in ("q", "k", "v", "o")}
    mlp = {kind: shares[kind] for kind in ("gate", "up", "down")}
    common = {"x": steps, "colors": KINDS, "ylim": (-0.05, 1.08), "xlabel": "step"}
    fig = panels(
        {"series": attention, "title": "attention", "ylabel": "share of gates open", **common},
        {"series": mlp, "title": "MLP", **common},
        size=(9.6, 3.4),
        same_y=True,
    )
    ends = ", ".join(f"{kind} {values[-1]:.0%}" for kind, values in shares.items())
    again = [kind for kind, v in shares.items() if any(b > a + 0.02 for a, b in pairwise(v))]
    alt = f"Share of open gates after {steps[-1]} steps: {ends}. "
    alt += f"Gates that open again on the way: {', '.join(again) or 'none'}."
    return fig, alt, dict(shares)


FEW = {"ia3": "ia3", "bitfit": "bitfit", "norms": "base", "lora, 2,560": "dora",
       "random entries": "diff"}  # fmt: skip
MANY = {"full": "full", "last block": "partial", "last 2 blocks": "wrong", "lora": "lora"}
LABELS = {  # name: at which point of its line (from the best one on), and how far from it
    "ia3": (-1, (8, -8)), "bitfit": (-1, (4, 9)), "norms": (0, (6, 7)), "lora, 2,560": (-1, (8, 4)),
    "random entries": (-1, (-6, -11)), "full": (0, (-2, 9)), "last block": (0, (8, 2)),
    "last 2 blocks": (0, (-6, 3)), "lora": (-1, (8, 0)), "your run": (0, (9, -9)),
}  # fmt: skip


def compared_picture(
    runs: Mapping[str, Sequence[Tuned]], entries: Chosen, mine: tuple[float, float]
) -> Picture:
    """Lesson 08: learned against forgotten, at each method's best rate and at smaller ones.

    Args:
        runs: of `selective.compared`. entries: of `selective.chosen`, drawn at random.
        mine: (learned, forgotten) of the lesson's own run of (IA)^3.
    """
    series = {name: _from_the_best(points) for name, points in runs.items()}
    series["random entries"] = list(zip(*list(entries.after.values())[::-1], strict=True))
    fig, axes = plt.subplots(1, 2, figsize=(11, 4.2))
    titles = ("under 8,000 numbers trained", "100,000 and more")
    for ax, colors, title in zip(axes, (FEW, MANY), titles, strict=True):
        shown = {name: tuple(map(list, series[name])) for name in colors}
        styles = {}
        if "ia3" in colors:
            shown["your run"], styles["your run"] = ([mine[0]], [mine[1]]), "D"
        draw_lines(ax, shown, colors=colors | {"your run": "full"}, styles=styles, log="xy",
                   labels=False, title=title, xlabel="chef: loss above its floor")  # fmt: skip
        for name, (xs, ys) in shown.items():
            place, shift = LABELS[name]
            ax.annotate(name, (xs[place], ys[place]), shift, textcoords="offset points",
                        color=COLORS[{**colors, "your run": "full"}[name]],
                        ha="right" if shift[0] < -4 else "left", va="center")  # fmt: skip
        ax.margins(0.16)
    axes[0].set(ylabel="own world: above its floor")
    best = {name: (xs[0], ys[0]) for name, (xs, ys) in series.items() if name in FEW | MANY}
    told = ", ".join(f"{name} {x:.2f} ({y:.2f})" for name, (x, y) in best.items())
    alt = f"Best loss above the chef's floor, and the own world's then: {told}. "
    alt += f"Your run of (IA)³: {mine[0]:.1f} ({mine[1]:.0f})."
    return fig, alt, {name: series[name][1] for name in best}


def _from_the_best(points: Sequence[Tuned]) -> list[tuple[float, ...]]:
    """[losses on the task, losses on the own world] from the best rate down to the smallest."""
    best = min(points, key=lambda p: p.learned)
    rates = sorted((p for p in points if p.rate <= best.rate), key=lambda p: -p.rate)
    return list(zip(*[(p.learned, p.forgotten) for p in rates], strict=True))
