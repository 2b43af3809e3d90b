"""The pictures of lesson 03: the detour beside W0, and how the first step depends on the rank."""

from collections.abc import Mapping, Sequence

from ..drawing import panels
from ..figure import COLORS, plt


def detour_picture(d_in: int, d_out: int, r: int):
    """Lesson 03: the way of the numbers through W0, and beside it through A and B."""
    fig, ax = plt.subplots(figsize=(7.2, 3.3))
    side = 1.9 / max(d_in, d_out)
    w, h, thin = d_in * side, d_out * side, max(r * side, 0.22)
    boxes = {
        f"$W_0$\n{d_out} x {d_in}\nfrozen": (3.2, 2.2, w, h, "muted"),
        f"$A$  {r} x {d_in}": (2.3, 0.35, w, thin, "lora"),
        f"$B$\n{d_out} x {r}": (4.6, 0.35, thin, h * 0.62, "lora"),
    }
    for text, (x, y, width, height, color) in boxes.items():
        corner = (x - width / 2, y - height / 2)
        ax.add_patch(plt.Rectangle(corner, width, height, color=COLORS[color]))
        inside = color == "muted"
        shift = (0, 0) if inside else (0, -0.42) if "A" in text else (0.52, 0)
        ax.text(x + shift[0], y + shift[1], text, ha="center", va="center", fontsize=9)
    arrow = {"arrowstyle": "->", "color": COLORS["base"], "shrinkA": 0, "shrinkB": 0}
    near, far = 3.2 - w / 2, 3.2 + w / 2
    ways = [((0.4, 1.3), (near, 2.2)), ((0.4, 1.3), (2.3 - w / 2, 0.35))]
    ways += [((2.3 + w / 2, 0.35), (4.6 - thin / 2, 0.35)), ((far, 2.2), (6.2, 1.45))]
    ways += [((5.5, 0.35), (6.2, 1.1)), ((6.6, 1.28), (7.1, 1.28))]
    for start, end in ways:
        ax.annotate("", end, start, arrowprops=arrow)
    ax.text(0.2, 1.3, "x", ha="center", va="center", fontsize=13)
    ax.text(6.4, 1.28, "+", ha="center", va="center", fontsize=15)
    ax.text(7.3, 1.28, "h", ha="center", va="center", fontsize=13)
    ax.text(3.75, 0.5, f"{r} numbers", ha="center", fontsize=8, style="italic")
    ax.text(6.0, 0.5, r"times $\alpha/r$", fontsize=9, style="italic")
    ax.set(xlim=(0, 7.6), ylim=(-0.5, 3.3), aspect="equal")
    ax.axis("off")
    return fig


def first_step_picture(ranks: Sequence, drop: Mapping, norm: Mapping):
    """Lesson 03: how the first step depends on the rank, for two optimizers and each scale.

    Args:
        drop: {(optimizer, scale): loss drop at each rank}.
        norm: {scale: norm of B's gradient at each rank}.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    shown = {f"{name}: loss drop": {} for name, _ in drop} | {"norm of B's gradient": norm}
    for (name, scale), values in drop.items():
        shown[f"{name}: loss drop"][scale] = values
    shown = {t: {s: v / v[0] for s, v in curves.items()} for t, curves in shown.items()}
    common = {"x": ranks, "ticks": ranks, "log": "xy", "xlabel": "rank r"}
    common["colors"] = {"α/r": "lora", "α/√r": "second", "s = 2": "wrong"}
    parts = [{"series": curves, "title": title, **common} for title, curves in shown.items()]
    parts[0]["ylabel"] = "relative to rank 1"
    ends = [
        f"{title} " + ", ".join(f"{float(v[-1]):.2g} ({scale})" for scale, v in curves.items())
        for title, curves in shown.items()
    ]
    alt = f"At rank {ranks[-1]}, relative to rank 1: {'; '.join(ends)}."
    data = {f"{t}, {scale}": v for t, curves in shown.items() for scale, v in curves.items()}
    return panels(*parts, size=(11, 3.4), same_y=True), alt, data
