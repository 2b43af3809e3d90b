"""The pictures of lesson 07: three places in a block, what was learned, how bent, how slow."""

from collections.abc import Mapping, Sequence

from ...lessons.bottleneck import Learned
from ...lessons.latency import Slowdown
from ..drawing import draw_lines, panels
from ..figure import COLORS, plt

PLACES = {
    "houlsby": "two, reading h",
    "pfeiffer": "one, reading x + h",
    "parallel": "one, reading x",
}
BLOCK = {0.9: "attention", 5.9: "MLP"}  # {where it begins: its name}
STRAIGHT = "parallel, straight"
LOOK = {STRAIGHT: "second", "last block": "partial"}
SETUPS = {
    "LoRA, all": "lora",
    "LoRA, q and v": "dora",
    "LoRA, merged": "base",
    "houlsby": "houlsby",
    "pfeiffer": "pfeiffer",
    "parallel": "parallel",
}
Picture = tuple[object, str, dict]  # (figure, alt text, data), as `figure` takes them


def places_picture(trained: Mapping[str, int]) -> Picture:
    """Lesson 07: a decoder block three times, with the adapters of each style in their places.

    trained: {style: how many numbers the adapters of one block have}.
    """
    fig, axes = plt.subplots(len(trained), 1, figsize=(8.6, 6))
    for ax, (style, count) in zip(axes, trained.items(), strict=True):
        for left, name in BLOCK.items():
            _half(ax, left, name)
        for left in list(BLOCK)[0 if style == "houlsby" else 1 :]:
            _adapter(ax, left, style)
        ax.annotate("", (10.6, -0.3), (0, -0.3), arrowprops=_arrow("base"))
        ax.text(0.1, -0.2, "x", fontsize=11, va="bottom")
        ax.text(0, 2.05, style, fontweight="bold", color=COLORS["pfeiffer"])
        ax.text(10.8, 0.75, f"{count:,} trained\nin a block", fontsize=8.5, va="center")
        ax.set(xlim=(-0.1, 12.4), ylim=(-0.75, 2.5))
        ax.axis("off")
    told = [f"{style} {PLACES[style]}, {count:,} numbers" for style, count in trained.items()]
    alt = "A block adds what attention gives to x, then what the MLP gives. Adapters in it, and "
    alt += f"what they read, h being what the MLP or attention gives: {'; '.join(told)}."
    return fig, alt, dict(trained)


def _arrow(color: str) -> dict:
    return {"arrowstyle": "->", "color": COLORS[color], "shrinkA": 0, "shrinkB": 0}


def _half(ax, left: float, name: str) -> None:
    """Attention or the MLP with its norm in front, from the stream x and back to it."""
    for x, width, text in ((left, 0.8, "norm"), (left + 1.1, 1.3, name)):
        ax.add_patch(plt.Rectangle((x, 0.5), width, 0.5, color=COLORS["muted"]))
        ax.text(x + width / 2, 0.75, text, ha="center", va="center", fontsize=8.5)
    ends = [((left - 0.35, -0.3), (left, 0.75)), ((left + 0.8, 0.75), (left + 1.1, 0.75))]
    for start, end in [*ends, ((left + 3.75, 0.75), (left + 3.85, -0.3))]:
        ax.annotate("", end, start, arrowprops=_arrow("base"))
    ax.plot([left + 2.4, left + 3.75], [0.75, 0.75], color=COLORS["base"], linewidth=1)
    ax.text(left + 2.45, 0.82, "h", fontsize=10, va="bottom")
    ax.text(left + 3.85, -0.42, "+", fontsize=12, ha="center", va="top")


def _adapter(ax, left: float, style: str) -> None:
    """A green bottleneck above the way of h, with arrows from what it reads, and back to h."""
    x, way = left + 3.1, [(left - 0.6, -0.3), (left - 0.6, 1.6)]
    ends = [(x - 0.4, 1.95), (x - 0.4, 1.25)], [(x + 0.4, 1.25), (x + 0.4, 1.95)]
    waist = [(x, 1.5), *ends[1], (x, 1.7), *ends[0]]
    ax.add_patch(plt.Polygon(waist, color=COLORS["houlsby"]))
    back = _arrow("pfeiffer") | {"connectionstyle": "angle,angleA=0,angleB=90"}
    ax.annotate("", (x + 0.6, 0.75), (x + 0.4, 1.6), arrowprops=back)
    if style != "parallel":
        ax.annotate("", (x - 0.4, 1.4), (x - 0.4, 0.75), arrowprops=_arrow("pfeiffer"))
    if style != "houlsby":
        ax.plot(*zip(*way, strict=True), color=COLORS["pfeiffer"], linewidth=1)
        ax.annotate("", (x - 0.4, 1.6), way[1], arrowprops=_arrow("pfeiffer"))


def learned_picture(
    runs: Mapping[str, Sequence[Learned]], others: Mapping[str, Sequence], mine: tuple[float, float]
) -> Picture:
    """Lesson 07: the new task's loss by rate, and what was forgotten beside it.

    Args:
        runs: of `bottleneck.adapters_by_rate`.
        others: of `recorded.learning_and_forgetting`.
        mine: (learned, forgotten) of the lesson's own run of "parallel".
    """
    by_rate = {
        name: tuple(zip(*((p.rate, p.spread[0], p.learned, p.spread[1]) for p in points),
                        strict=True))
        for name, points in runs.items()
    }  # fmt: skip
    both, traded = {**runs, **others}, {}
    for name, points in both.items():  # a rate above the best one loses on both axes
        top = min(points, key=lambda p: p.learned).rate
        down = [(p.learned, p.forgotten) for p in reversed(points) if p.rate <= top]
        named_left = f"_{name}" if name in runs else name  # the left panel has its label
        traded[named_left] = tuple(zip(*down, strict=True))
    traded["your run"] = ([mine[0]], [mine[1]])
    alike = {f"_{name}": LOOK.get(name, name) for name in runs}
    common = {"log": "xy", "colors": LOOK | alike | {"your run": "wrong"}}
    fig = panels(
        {"series": by_rate, "xlabel": "learning rate", "ylabel": "chef: loss above its floor",
         "title": f"{len(runs)} kinds of adapters", **common},
        {"series": traded, "xlabel": "chef: loss above its floor", "styles": {"your run": "D"},
         "ylabel": "own world: above its floor", "title": "up to each best rate, colours as left",
         **common},
        size=(11.5, 4.2),
    )  # fmt: skip
    best = {name: min(points, key=lambda p: p.learned) for name, points in both.items()}
    told = [f"{n} {p.learned:.2f} and {p.forgotten:.2f}" for n, p in best.items()]
    alt = f"Above the floors at each method's best rate, chef and own world: {'; '.join(told)}. "
    alt += f"Your run: {mine[0]:.2f} and {mine[1]:.1f}."
    data = {f"{name}, chef": [p.learned for p in points] for name, points in both.items()}
    return fig, alt, data | {f"{n}, own": [p.forgotten for p in ps] for n, ps in both.items()}


def bend_picture(runs: Mapping[str, Sequence[Learned]], by_chance: float) -> Picture:
    """Lesson 07: what a straight copy misses of each adapter, and the loss with the copies in.

    by_chance: what it misses of adapters that nobody trained.
    """
    runs = {name: points for name, points in runs.items() if name != STRAIGHT}
    rates = {name: [p.rate for p in points] for name, points in runs.items()}
    missed = {name: (rates[name], [p.bend for p in points]) for name, points in runs.items()}
    losses, styles, colors = {}, {}, dict(LOOK)
    for name, points in runs.items():
        losses[name] = (rates[name], [p.learned for p in points])
        losses[f"{name}, copies"] = (rates[name], [p.copied for p in points])
        styles |= {name: "-o", f"{name}, copies": "--s"}
        colors[f"{name}, copies"] = name
    common = {"log": "xy", "xlabel": "learning rate", "colors": colors}
    fig = panels(
        {"series": missed, "levels": {"random": by_chance}, "ylabel": "share that the copy misses",
         **common, "log": "x", "ylim": (0, None)},
        {"series": losses, "styles": styles, "ylabel": "chef: loss above its floor", **common},
        size=(11.5, 3.8),
    )  # fmt: skip
    told = [
        f"{n} misses {p.bend:.0%}, loss {p.learned:.2f} and {p.copied:.2f}"
        for n, ps in runs.items()
        for p in [min(ps, key=lambda point: point.learned)]
    ]
    alt = "Straight copies of trained adapters, and the chef's loss above its floor as trained and "
    alt += f"with copies, at each one's best rate: {'; '.join(told)}. Of random adapters "
    alt += f"{by_chance:.0%} is missed."
    data = {f"missed, {name}": [p.bend for p in points] for name, points in runs.items()}
    return fig, alt, data | {f"copies, {n}": [p.copied for p in ps] for n, ps in runs.items()}


def latency_picture(
    measured: Mapping[str, Mapping[int, Slowdown]], setup: str, arithmetic: float, title: str
) -> Picture:
    """Lesson 07's widget: the time of a forward pass by batch, in units of the bare base's.

    Args:
        measured: of `latency.recorded`.
        setup: the one that is asked for; the others are drawn pale.
        arithmetic: how many times as many multiplications it makes.
    """
    fig, ax = plt.subplots(figsize=(7.2, 3.9))
    batches = list(measured[setup])
    for name, points in measured.items():
        if name != setup:
            ax.plot(batches, [p.median for p in points.values()], "-", color=COLORS["muted"],
                    linewidth=1, zorder=0)  # fmt: skip
    mine = measured[setup].values()
    series = {setup: (batches, [p.low for p in mine], [p.median for p in mine],
                      [p.high for p in mine])}  # fmt: skip
    top = max(p.median for points in measured.values() for p in points.values())
    draw_lines(
        ax, series, log="x", ticks=batches, colors=SETUPS, title=title, ylim=(0.85, 1.1 * top),
        levels={f"arithmetic {arithmetic:.2f}": arithmetic, "base": 1.0},
        xlabel="texts in a batch", ylabel="time, in the base's",
    )  # fmt: skip
    medians = [p.median for p in mine]
    told = ", ".join(f"{m:.2f} at {b}" for b, m in zip(batches, medians, strict=True))
    alt = f"{title}: {setup} takes, in the base's times, by batch: {told}; its multiplications "
    alt += f"alone would take {arithmetic:.2f}."
    return fig, alt, {setup: medians}
