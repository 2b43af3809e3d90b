"""The pictures of lesson 09: where soft prompts enter, the sweep, and who looks at them."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from ...lessons.prompts import Prompted, best
from ..drawing import draw_lines
from ..figure import COLORS, label_lines, plt

Picture = tuple[object, str, dict]  # (figure, alt text, data), as `figure` takes them
KINDS = {  # method: colour
    "prompt": "prompt",
    "prompt, random": "prompt",
    "p-tuning": "p-tuning",
    "prefix": "prefix",
    "prefix, zero": "prefix",
    "prefix, mlp": "prefix",
}
STYLES = {"prompt": "-o", "prompt, random": ":o", "p-tuning": "--^"}
STYLES |= {"prefix": "-s", "prefix, zero": ":s", "prefix, mlp": "--D"}
NAMED = {  # of the lines by rate: the point at which the name stands, and where beside it
    "prompt": (0, (-6, 0), "right"),
    "prompt, random": (0, (0, 8), "center"),
    "p-tuning": (0, (0, 8), "left"),
    "prefix": (0, (-6, 0), "right"),
    "prefix, zero": (1, (0, -14), "center"),
    "prefix, mlp": (0, (0, 8), "left"),
}


def places_picture(layers: int, n: int, words: Sequence[str]) -> Picture:
    """Lesson 09: which numbers are trained, and where they enter: by layer and position."""
    fig, axes = plt.subplots(1, 2, figsize=(9.4, 0.62 * layers + 1.7))
    heights = ["embeddings", *(f"layer {i}" for i in range(layers))]
    for ax, deep in zip(axes, (False, True), strict=True):
        for y, _ in enumerate(heights):
            for x in range(n + len(words)):
                virtual = x < n
                if virtual and deep and y == 0:
                    continue
                trained = virtual and (deep if y else not deep)
                color = COLORS["prefix" if deep else "prompt"] if trained else COLORS["muted"]
                box = {"color": color, "alpha": 1 if trained or not virtual else 0.35}
                ax.add_patch(plt.Rectangle((x + 0.08, y + 0.14), 0.84, 0.72, **box))
                if trained:
                    text = "K V" if deep else "P"
                    ax.text(x + 0.5, y + 0.5, text, ha="center", va="center", color="white")
        for x, word in enumerate(words):
            ax.text(n + x + 0.5, -0.12, word, ha="center", va="top", fontsize=9)
        ax.text(n / 2, -0.12, "virtual", ha="center", va="top", fontsize=9, style="italic")
        ax.set_yticks([y + 0.5 for y in range(len(heights))], heights)
        ax.set_xticks([])
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.set(xlim=(0, n + len(words)), ylim=(-0.6, len(heights)))
        ax.set_title("prefix tuning" if deep else "prompt tuning")
    alt = (
        f"{n} virtual tokens before {len(words)} of a text, in a model of {layers} layers. Prompt "
    )
    alt += f"tuning trains {n} embeddings, from which all layers compute. Prefix tuning trains "
    alt += f"{layers * n} pairs of key and value, {n} in each layer, and no embedding."
    return fig, alt, {"trained embeddings": n, "trained pairs": layers * n}


def sweep_picture(
    rates: Mapping[str, Sequence[Prompted]],
    lengths: Mapping[str, Sequence[Prompted]],
    levels: Mapping[str, float],
) -> Picture:
    """Lesson 09: the chef's loss by learning rate and by number of virtual tokens.

    Args:
        rates, lengths: of `prompts.by_rate` and `prompts.by_length`.
        levels: {baseline: its loss at its best rate}.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4), width_ratios=(1.25, 1), sharey=True)
    common = {"log": "xy", "labels": False, "colors": KINDS, "styles": STYLES, "levels": levels}
    spread = {name: _spread([p.rate for p in points], points) for name, points in rates.items()}
    ylabel = "chef: loss above its floor"
    draw_lines(left, spread, xlabel="learning rate", ylabel=ylabel, **common)
    shorter = {name: _spread([p.n for p in points], points) for name, points in lengths.items()}
    ticks = sorted({p.n for points in lengths.values() for p in points})
    draw_lines(right, shorter, xlabel="virtual tokens n", ticks=ticks, **common)
    for line in left.get_lines():
        if (name := line.get_label()) in NAMED:
            point, offset, side = NAMED[name]
            where = {"xy": line.get_xydata()[point], "xytext": offset, "color": line.get_color()}
            left.annotate(name, textcoords="offset points", ha=side, **where)
            line.set_label("_" + name)
    for ax in (left, right):
        label_lines(ax, gap=0.075)
    at_best = {name: best(points) for name, points in rates.items()}
    told = ", ".join(f"{name} {p.learned:.2f} at rate {p.rate:g}" for name, p in at_best.items())
    other = ", ".join(f"{name} {height:.2f}" for name, height in levels.items())
    by_n = "; ".join(
        f"{name} {points[0].learned:.2f} with {points[0].n}, {points[-1].learned:.2f} "
        f"with {points[-1].n}"
        for name, points in lengths.items()
    )
    alt = f"Above the chef's floor, each at its best rate: {told}; beside them {other}. "
    alt += f"By the number of virtual tokens: {by_n}."
    data = {f"{name}, by rate": [p.learned for p in points] for name, points in rates.items()}
    data |= {f"{name}, by n": [p.learned for p in points] for name, points in lengths.items()}
    return fig, alt, data | dict(levels)


def _spread(xs: Sequence[float], points: Sequence[Prompted]) -> tuple:
    low, high = ([p.spread[side] for p in points] for side in (0, 1))
    return xs, low, [p.learned for p in points], high


def share_picture(shares: Mapping[str, Tensor], words: Sequence[str]) -> Picture:
    """Lesson 09: the share of its attention that each token gives to the virtual ones, by layer.

    shares: {title: (layers, heads, length)}, as of `prompts.share_on_virtual`.
    """
    size, told, data = (9.4, 1.9 * len(shares) + 1), [], {}
    fig, axes = plt.subplots(len(shares), 1, figsize=size, sharex=True, squeeze=False)
    for ax, (title, by_head) in zip(axes[:, 0], shares.items(), strict=True):
        share = by_head.mean(1).numpy()  # (layers, length)
        image = ax.imshow(share, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        ax.set_yticks(range(len(share)), [f"layer {i}" for i in range(len(share))])
        ax.set_title(title)
        ax.grid(False)
        data |= {f"{title}, layer {i}": row for i, row in enumerate(share)}
        told.append(f"{title} " + ", ".join(f"{float(row.mean()):.0%}" for row in share))
    axes[-1, 0].set_xticks(range(len(words)), words, rotation=60, ha="right")
    fig.colorbar(image, ax=axes, label="share on virtual tokens", shrink=0.8)
    alt = "Mean share of attention on the virtual tokens, layer 0 first: " + "; ".join(told) + "."
    return fig, alt, data


def map_picture(weights: Tensor, n: int, words: Sequence[str], title: str) -> Picture:
    """Lesson 09's widget: one head's attention, from each token to virtual ones and to the text.

    weights: (length, n + length), rows sum to 1.
    """
    fig, ax = plt.subplots(figsize=(8.2, 4.6))
    ax.imshow(weights.numpy(), cmap="viridis", vmin=0, vmax=1, aspect="auto")
    ax.axvline(n - 0.5, color="white", linewidth=2)
    names = [f"virtual {i + 1}" for i in range(n)]
    ax.set_xticks(range(n + len(words)), [*names, *words], rotation=60, ha="right", fontsize=8)
    ax.set_yticks(range(len(words)), words, fontsize=8)
    ax.set(title=title, xlabel="what is looked at", ylabel="who looks")
    ax.grid(False)
    on_virtual = weights[:, :n].sum(1)
    most = int(weights[:, :n].mean(0).argmax())
    alt = f"{title}: on average {float(on_virtual.mean()):.0%} of the attention goes to the {n} "
    alt += f"virtual tokens, most of it to number {most + 1}; the token "
    alt += f"{words[int(on_virtual.argmax())]!r} gives {float(on_virtual.max()):.0%} to them."
    return fig, alt, {"share on virtual tokens": on_virtual}
