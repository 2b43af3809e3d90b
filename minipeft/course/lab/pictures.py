"""Pictures of single lessons: what they show is explained there, how it is drawn is said here."""

import math
from collections.abc import Mapping, Sequence

from .drawing import draw_lines, lines, panels
from .figure import COLORS, plt


def cut_picture(picture, copy, shares: Sequence, rank: int, break_even: float):
    """Lesson 02: a picture, its copy of some rank, and the energy kept by rank.

    Args:
        picture, copy: arrays of one shape.
        shares: energy kept at ranks 1, 2, ..., in per cent.
        rank: of the copy.
        break_even: the rank from which the factors hold more numbers than the picture.
    """
    height, width = picture.shape
    fig, (whole, kept, curve) = plt.subplots(1, 3, figsize=(9, 2.9), width_ratios=(1, 1, 0.9))
    shades = {"cmap": "gray_r", "vmin": float(picture.min()), "vmax": float(picture.max())}
    whole.imshow(picture, **shades)
    whole.set(title=f"whole: {height * width:,} numbers", xticks=[], yticks=[])
    kept.imshow(copy, **shades)
    kept.set(title=f"rank {rank}: {rank * (height + width):,} numbers", xticks=[], yticks=[])
    curve.plot(range(1, len(shares) + 1), shares, color=COLORS["lora"])
    curve.plot(rank, shares[rank - 1], "o", color=COLORS["wrong"], markersize=8)
    curve.axvline(break_even, color=COLORS["floor"], linestyle=":")
    curve.set(xlabel="rank (dots: break-even)", ylabel="energy kept (%)", ylim=(0, 104))
    curve.set_title(f"energy kept: {shares[rank - 1]:.1f}%")
    return fig


def spectrum_picture(curves: Mapping, names: Sequence[str], update: Sequence, copy: Sequence):
    """Lesson 02: energy against components for some matrices, and for all what 90% of it takes.

    Args:
        curves: {"name": share of energy of the first 1, 2, ... components, in per cent}.
        names: of all matrices, and for each the per cent of its components that hold 90% of the
        update's energy, and of the shuffled copy's.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2), width_ratios=(1.1, 1))
    colors = {"update": "full", "shuffled copy": "wrong", "noise": "base"}
    styles = {"update": "-", "shuffled copy": "--", "noise": ":"}
    settings = {"xlabel": "components kept", "ylabel": "energy (%)", "ylim": (0, 104)}
    draw_lines(left, curves, colors=colors, styles=styles, labels=False, **settings)
    for name, place in {"update": (0.27, 0.93), "shuffled copy": (0.44, 0.55)}.items():
        text = name if name == "update" else "shuffled copy (dashed)\nand noise (dotted)"
        left.text(*place, text, color=COLORS[colors[name]], transform=left.transAxes)
    heights = range(len(names))
    right.plot(update, heights, "o", color=COLORS["full"], label="update")
    right.plot(copy, heights, "x", color=COLORS["wrong"], label="shuffled copy")
    right.set(xlabel="components for 90% of the energy (%)", xlim=(0, 100), ylabel="matrix")
    right.set_yticks([])
    right.invert_yaxis()
    right.legend(loc="upper right", bbox_to_anchor=(1, 1.14), ncols=2)
    return fig


def block_picture(sizes: Mapping[str, tuple[int, int]]):
    """Lesson 00: a decoder block, with its seven matrices drawn to scale where the numbers pass.

    Args:
        sizes: {"q_proj": (rows, columns), ...}, in the order q, k, v, o, gate, up, down.
    """
    fig, ax = plt.subplots(figsize=(8.8, 4))
    q, k, v, o, gate, up, down = sizes
    unit = 1.9 / max(max(shape) for shape in sizes.values())
    places = {q: (1.6, 2.7), k: (1.6, 1.45), v: (1.6, 0.5), o: (4.3, 1.5)}
    places |= {gate: (6.6, 2.55), up: (6.6, 0.35), down: (9.4, 1.5)}
    for name, (x, y) in places.items():
        width, height = sizes[name][1] * unit, sizes[name][0] * unit
        box = (x - width / 2, y - height / 2)
        ax.add_patch(plt.Rectangle(box, width, height, color=COLORS["muted"]))
        below = height < 0.6  # too low for two lines of text
        where = y - height / 2 - 0.24 if below else y
        shape = "{} x {}".format(*sizes[name])
        ax.text(x, where, f"{name}\n{shape}", ha="center", va="center", fontsize=8)
    starts = {"in": (0.3, 1.5), "mixed": (3.45, 1.5), "mlp": (5.2, 1.5), "product": (8.05, 1.5)}
    ways = [(starts["in"], (1.15, y)) for y in (2.7, 1.45, 0.5)]
    ways += [((2.05, y), (2.7, 1.5)) for y in (2.7, 1.45, 0.5)] + [(starts["mixed"], (3.9, 1.5))]
    ways += [((4.7, 1.5), starts["mlp"])] + [(starts["mlp"], (6.15, y)) for y in (2.55, 0.35)]
    ways += [((7.05, y), (7.45, 1.5)) for y in (2.55, 0.35)]
    ways += [(starts["product"], (8.4, 1.5)), ((10.4, 1.5), (11.0, 1.5))]
    arrow = {"arrowstyle": "->", "color": COLORS["base"], "shrinkA": 0, "shrinkB": 0}
    for start, end in ways:
        ax.annotate("", end, start, arrowprops=arrow)
    ax.text(3.07, 1.5, "mixes\ntokens", ha="center", va="center", fontsize=8, style="italic")
    ax.text(7.75, 1.5, "gate\nx up", ha="center", va="center", fontsize=8, style="italic")
    ax.text(2.9, 3.75, "attention", ha="center", fontweight="bold")
    ax.text(7.9, 3.75, "MLP", ha="center", fontweight="bold")
    ax.set(xlim=(0, 11.1), ylim=(-0.7, 4.1), aspect="equal")
    ax.axis("off")
    return fig


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


def word_bars(words: Sequence[str], base: Sequence, adapted: Sequence, dice: Mapping[int, float]):
    """Lesson 00: the surprise at each word without and with the adapter, and the dice's own.

    dice: {place of a word: nats of its die}.
    """
    fig, ax = plt.subplots(figsize=(8.5, 3.8))
    ax.bar(range(len(words)), base, 0.8, color=COLORS["muted"], label="base")
    ax.bar(range(len(words)), adapted, 0.4, color=COLORS["lora"], label="with the adapter")
    ax.plot(list(dice), list(dice.values()), "_", color="black", markersize=14, label="dice")
    ax.set_xticks(range(len(words)), words, rotation=60, ha="right")
    # Roots, so that a die of 2 nats can be seen beside a surprise of 40.
    ax.set_yscale("function", functions=(lambda y: y**0.5, lambda y: y**2))
    ax.set(ylabel="surprise (nats)", ylim=(0, None), yticks=[0, 1, 4, 10, 20, 40])
    ax.legend()
    return fig


def area_squares(shares: Mapping[str, float]):
    """Lesson 00: for each model a grey square, and in its corner one of the share's area."""
    fig, axes = plt.subplots(1, len(shares), figsize=(6.4, 3.2))
    for ax, (name, share) in zip(axes, shares.items(), strict=True):
        ax.add_patch(plt.Rectangle((0, 0), 1, 1, color=COLORS["muted"]))
        ax.add_patch(plt.Rectangle((0, 0), share**0.5, share**0.5, color=COLORS["lora"]))
        ax.text(math.sqrt(share) + 0.03, 0.02, f"LoRA {share:.1%}")
        ax.set(title=name, xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.axis("off")
    return fig


def frontier(runs: Mapping[str, list], mine: tuple[float, float], near: float):
    """Lessons 00 and 03: what was learned against what was forgotten, by method and rate.

    Args:
        runs: of `recorded.learning_and_forgetting`.
        mine: (learned, forgotten) of the lesson's own run.
        near: the caption tells what was forgotten by those who learned to this.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    series = {m: ([p.learned for p in ps], [p.forgotten for p in ps]) for m, ps in runs.items()}
    series["your run"] = ([mine[0]], [mine[1]])
    fig = lines(
        series,
        log="xy",
        xlabel="new task: loss above its floor",
        ylabel="own world: above its floor",
        colors={"last block": "partial", "your run": "wrong"},
        styles={"your run": "D"},
    )
    learned = [p for points in runs.values() for p in points if p.learned < near]
    said = "; ".join(f"{p.method} at rate {p.rate} {p.forgotten:.2f}" for p in learned)
    alt = (
        f"Your run: {mine[0]:.2f} above the new task's floor, {mine[1]:.1f} above the own world's. "
    )
    alt += f"Recorded, within {near} of the task's floor, above the own world's: {said}."
    return fig, alt, {m: ys for m, (_, ys) in series.items()}


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
