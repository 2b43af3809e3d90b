"""The pictures of lesson 11: the way through a layer of four bits, and peaks against a card."""

from collections.abc import Mapping

from ..drawing import lines, panels
from ..figure import COLORS, plt

PARTS = {"weights": "nf4", "adapter and states": "lora", "for a while": "third"}


def unpacking_picture(d_in: int, d_out: int, r: int):
    """Lesson 11: what is stored, what is made for a moment, and where gradients go."""
    fig, ax = plt.subplots(figsize=(8.2, 3.5))
    boxes = {
        "codes\n4 bits": (3.0, 3.1, 1.1, 0.55, "nf4"),
        "constants": (4.4, 3.1, 1.1, 0.55, "nf4"),
        r"$\hat W$, " + f"{d_out} x {d_in}\ndense, for a moment": (3.7, 1.75, 2.5, 0.75, "muted"),
        f"A, {r} x {d_in}": (3.0, 0.45, 1.2, 0.4, "lora"),
        f"B, {d_out} x {r}": (4.6, 0.45, 1.2, 0.4, "lora"),
    }
    for text, (x, y, width, height, color) in boxes.items():
        corner = (x - width / 2, y - height / 2)
        ax.add_patch(plt.Rectangle(corner, width, height, color=COLORS[color]))
        ink = "black" if color == "muted" else "white"
        ax.text(x, y, text, ha="center", va="center", fontsize=9, color=ink)
    forward = [((0.9, 1.15), (2.4, 1.75)), ((0.9, 1.0), (2.35, 0.5)), ((3.65, 0.45), (3.95, 0.45))]
    forward += [((5.0, 1.75), (6.3, 1.15)), ((5.25, 0.5), (6.3, 1.0)), ((6.7, 1.08), (7.3, 1.08))]
    down = [((3.0, 2.8), (3.4, 2.16)), ((4.4, 2.8), (4.0, 2.16))]
    back = [((6.25, 1.3), (5.05, 1.95)), ((2.35, 1.95), (0.85, 1.3)), ((6.3, 0.85), (5.25, 0.3))]
    back += [((2.35, 0.3), (0.85, 0.85)), ((3.95, 0.33), (3.65, 0.33))]
    for ways, color, line in ((forward + down, "base", "-"), (back, "wrong", "--")):
        arrow = {"arrowstyle": "->", "color": COLORS[color], "linestyle": line}
        for begin, end in ways:
            ax.annotate("", end, begin, arrowprops=arrow | {"shrinkA": 0, "shrinkB": 0})
    for x, letter in ((0.65, "x"), (6.5, "+"), (7.5, "h")):
        ax.text(x, 1.08, letter, ha="center", va="center", fontsize=14)
    ax.text(5.35, 2.5, "dequantize", fontsize=9, style="italic", ha="center")
    ax.text(5.75, 1.95, "gradients (dashed)", fontsize=9, color=COLORS["wrong"])
    ax.text(3.8, 0.02, "trained, 32 bits", fontsize=9, color=COLORS["lora"], ha="center")
    ax.set(xlim=(0.3, 8.1), ylim=(-0.2, 3.5), aspect="equal")
    ax.axis("off")
    return fig


def fit_picture(parts: Mapping[str, Mapping[str, int]], room: int, title: str):
    """Lesson 11: the peak of each setup as a bar of three parts, and the room on the card.

    Args:
        parts: {"setup": {"weights": bytes, "adapter and states": bytes, "for a while": bytes}}.
        room: bytes of the card.
    """
    fig, ax = plt.subplots(figsize=(7.6, 2.9))
    for row, sizes in enumerate(parts.values()):
        left = 0.0
        for part, size in sizes.items():
            ax.barh(row, size / 1e9, 0.55, left=left, color=COLORS[PARTS[part]])
            left += size / 1e9
        fits = left * 1e9 <= room
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        words = f"{left:.1f}" + ("" if fits else ", too much")
        ax.annotate(words, (left, row), (5, 0), textcoords="offset points", va="center", bbox=white)
    ax.axvline(room / 1e9, color=COLORS["wrong"], linestyle="--")
    ax.text(room / 1e9, 0.5, f" the card, {room / 1e9:g}", color=COLORS["wrong"], va="center")
    ax.set_yticks(range(len(parts)), list(parts))
    ax.invert_yaxis()
    most = max(sum(sizes.values()) for sizes in parts.values())
    ax.set(xlabel="GB (10^9 bytes)", title=title, xlim=(0, 1.28 * max(most, room) / 1e9))
    colors = [plt.Rectangle((0, 0), 1, 1, color=COLORS[key]) for key in PARTS.values()]
    ax.legend(colors, PARTS, loc="upper center", bbox_to_anchor=(0.45, -0.28), ncols=3)
    return fig


def sweep_picture(runs: Mapping[str, list], mine: tuple[float, float], rate: float):
    """Lesson 11: what was learned and forgotten at each learning rate, by method.

    Args:
        runs: {"method": points of `recorded.Tuned`}.
        mine: (learned, forgotten) of the lesson's own run of QLoRA, at `rate`.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    rates = {method: [p.rate for p in points] for method, points in runs.items()}
    learned, forgotten = {}, {}
    for method, points in runs.items():
        lows, highs = zip(*(p.spread for p in points), strict=True)
        learned[method] = (rates[method], lows, [p.learned for p in points], highs)
        forgotten[method] = (rates[method], [p.forgotten for p in points])
    learned["your run"], forgotten["your run"] = ([rate], [mine[0]]), ([rate], [mine[1]])
    colors = {"loftq": "second", "your run": "wrong"}
    shared = {"colors": colors, "styles": {"your run": "D"}, "log": "xy", "xlabel": "learning rate"}
    fig = panels(
        {"series": learned, "title": "new task", "ylabel": "loss above the floor", **shared},
        {"series": forgotten, "title": "own world", **shared},
        size=(10.4, 3.8),
    )
    best = {method: min(points, key=lambda p: p.learned) for method, points in runs.items()}
    said = [
        f"{m} {p.learned:.2f} at rate {p.rate:g}, own world {p.forgotten:.1f}"
        for m, p in best.items()
    ]
    alt = f"Lowest loss above the new task's floor: {'; '.join(said)}. "
    alt += f"Your run of QLoRA: {mine[0]:.2f}, own world {mine[1]:.1f}."
    data = {f"{m}, new task": [p.learned for p in points] for m, points in runs.items()}
    data |= {f"{m}, own world": [p.forgotten for p in points] for m, points in runs.items()}
    return fig, alt, data


def loftq_picture(curves: Mapping[str, list], alone: float):
    """Lesson 11: the distance to W0 that LoftQ's start leaves, by iteration.

    Args:
        curves: {"r = 4": per cent of W0's norm after 1, 2, ... iterations}.
        alone: per cent for NF4 without an adapter.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    count = len(next(iter(curves.values())))
    fig = lines(
        curves,
        colors=dict(zip(curves, ("fp4", "second", "third"), strict=False)),
        levels={"NF4 alone": alone},
        ticks=range(1, count + 1),
        xlabel="iterations of LoftQ",
        ylabel="distance to W0 (% of its norm)",
        ylim=(0, 1.1 * alone),
    )
    said = [
        f"{name} {ys[0]:.1f}% after 1 iteration, {ys[-1]:.1f}% after {count}"
        for name, ys in curves.items()
    ]
    alt = f"Distance to W0, of its norm: NF4 alone {alone:.1f}%; {'; '.join(said)}."
    return fig, alt, {**curves, "NF4 alone": alone}
