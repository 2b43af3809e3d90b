"""The pictures of lesson 00: a block, the surprise word by word, shares as areas."""

import math
from collections.abc import Mapping, Sequence

from ..figure import COLORS, plt


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
