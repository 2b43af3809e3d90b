"""The pictures of lesson 12: the dial, three merges, weights on levels, what is erased, ranks."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor

from ...lessons.merging_recorded import Cut
from ..drawing import draw_lines, lines, panels
from ..figure import COLORS, label_lines, plt

MERGES = {"into W0": "base", "dequantized": "lora", "re-quantized": "wrong"}  # name: colour
Picture = tuple[object, str, dict]  # (figure, alt text, data), as `figure` takes them


def dial_picture(positions: Sequence[float], dial: Sequence[tuple[float, float]]) -> Picture:
    """Lesson 12: the losses (new task, own world) of W0 + c D at each position c."""
    series = dict(zip(("new task", "own world"), map(list, zip(*dial, strict=True)), strict=True))
    fig = lines(
        series,
        positions,
        log="y",
        xlabel="position c, in W0 + c times the update",
        ylabel="loss above the floor",
        colors={"new task": "lora", "own world": "base"},
    )
    told = [f"{a:.2f} and {b:.2f} at c = {c:g}" for c, (a, b) in zip(positions, dial, strict=True)]
    alt = f"Loss above the floor, new task and own world: {', '.join(told[::2])}."
    return fig, alt, series


def merges_picture(
    trained: Mapping[str, Tensor],
    merges: Mapping[str, Mapping[str, Tensor]],
    losses: Mapping[str, tuple[float, float]],
) -> Picture:
    """Lesson 12: the error of three merges in each layer, and the new task's loss after each.

    Args:
        trained: the weight of each layer that training had in force.
        merges: {merge: weight of each layer}, with the names of MERGES.
        losses: {"as trained" or merge: (new task, own world), above the floors}.
    """
    errors = {
        name: [float((made[p] - w).norm() / w.norm()) for p, w in trained.items()]
        for name, made in merges.items()
    }
    by_layer = {
        "series": errors,
        "log": "y",
        "ylim": (5e-4, 0.4),
        "colors": MERGES,
        "styles": {"into W0": "-o", "dequantized": "-o", "re-quantized": "--s"},
        "xlabel": f"the {len(trained)} adapted layers, first to last",
        "ylabel": "error, relative to W",
    }
    task = {name: pair[0] for name, pair in losses.items()}
    narrow = {name: name.replace(" ", "\n").replace("-", "-\n") for name in losses}
    colors = {narrow[name]: color for name, color in MERGES.items()} | {"as\ntrained": "muted"}
    bars = {"bars": {narrow[name]: loss for name, loss in task.items()}, "colors": colors}
    bars["ylabel"] = "new task: loss above its floor"
    means = ", ".join(f"{name} {sum(e) / len(e):.2g}" for name, e in errors.items())
    lost = ", ".join(f"{name} {loss:.2f}" for name, loss in task.items())
    alt = f"Relative error of the merged weights, mean of all layers: {means}. "
    alt += f"New task's loss above its floor: {lost}."
    data = {f"error, {name}": values for name, values in errors.items()} | task
    return panels(by_layer, bars, size=(10.5, 3.6), widths=(1.2, 1)), alt, data


def levels_picture(levels: Sequence, base: Sequence, trained: Sequence, again: Sequence) -> Picture:
    """Lesson 12: some weights of one block, where the adapter puts them, where 4 bits put them.

    Args:
        levels: the values that the block can store.
        base, trained, again: the same weights (n,) in the dequantized base, with the update, and
            after re-quantizing.
    """
    rows = [tuple(map(float, row)) for row in zip(base, trained, again, strict=True)]
    fig, ax = plt.subplots(figsize=(8.6, 3.6))
    for level in levels:
        ax.axvline(float(level), color=COLORS["muted"], linewidth=0.8, zorder=0)
    arrow = {"arrowstyle": "->", "color": COLORS["lora"], "shrinkA": 0, "shrinkB": 0}
    for height, (start, wanted, end) in enumerate(rows):
        ax.annotate("", (wanted, height), (start, height), arrowprops=arrow)
        ax.plot(end, height - 0.3, "s", color=COLORS["wrong"], markersize=6)
        ax.plot(start, height, "o", color=COLORS["base"], markersize=6)
        ax.plot(wanted, height, "o", color=COLORS["lora"], markersize=6)
    said = {"dequantized W4": "base", "W4 + update": "lora", "re-quantized": "wrong"}
    for text, color in said.items():
        ax.plot([], [], "s" if color == "wrong" else "o", color=COLORS[color], label=text)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=3)
    ax.set(xlabel="weight (grey lines: the levels of its block)", ylim=(-0.7, len(rows) - 0.5))
    ax.set_yticks([])
    ax.grid(False)
    gap = min(abs(float(b) - float(a)) for a, b in pairwise(levels))
    back = sum(abs(end - start) < gap / 2 for start, _, end in rows)
    alt = f"{len(rows)} weights of one block. After re-quantizing, {back} are back on the level "
    alt += f"from which the update had moved them, and {len(rows) - back} are on another one."
    series = dict(zip(said, zip(*rows, strict=True), strict=True))
    return fig, alt, {"levels": [float(level) for level in levels], **series}


def erased_picture(
    sizes: Sequence[float], pale: Mapping[str, Sequence], curve: Sequence, title: str
) -> Picture:
    """Lesson 12's widget: the share of an update that a format erases, by the update's size.

    Args:
        sizes: of the update, in units of the weight's.
        pale: {name: shares}, drawn to compare with.
        curve: the shares that are asked for.
    """
    percent = [100 * size for size in sizes]
    fig, ax = plt.subplots(figsize=(6.4, 3.6))
    settings = {"xlabel": "size of the update, in % of W", "ylabel": "share that is erased"}
    settings |= {"title": title, "ylim": (-0.1, 1.1), "log": "x", "labels": False}
    colors = dict.fromkeys(pale, "floor") | {"yours": "qlora"}
    styles = dict.fromkeys(pale, "--") | {"yours": "-o"}
    series = {**pale, "yours": curve}
    draw_lines(ax, series, percent, colors=colors, styles=styles, **settings)
    for name, values in pale.items():
        edge = next((x for x, e in zip(percent, values, strict=True) if e < 0.5), percent[-1])
        ax.text(edge, 0.62, f" {name}", color=COLORS["base"], fontsize=8)
    survives = next((s for s, e in zip(sizes, curve, strict=True) if e < 0.5), sizes[-1])
    alt = f"{title}: of an update of 1% of the weight {curve[sizes.index(0.01)]:.0%} is erased; "
    alt += f"more than half survives from {100 * survives:g}% on."
    return fig, alt, {"erased": curve}


def ranks_picture(best: Sequence[Cut]) -> Picture:
    """Lesson 12: updates cut to a rank: what is missing of each, and the loss that is left."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.7))
    ranks, colors = best[0].ranks, {cut.method: cut.method for cut in best}
    common = {"log": "x", "ticks": ranks, "xlabel": "rank of the LoRA", "colors": colors}
    errors = {cut.method: cut.error for cut in best}
    ylabel = "part of the update that is missing"
    draw_lines(left, errors, ranks, ylabel=ylabel, ylim=(0, 1), labels=False, **common)
    spread = {cut.method: (ranks, *cut.losses) for cut in best}
    common["log"] = "xy"
    ylabel = "new task: loss above its floor"
    draw_lines(right, spread, ylabel=ylabel, labels=False, **common)
    for ax in (left, right):
        label_lines(ax, gap=0.075)
    at_8 = ranks.index(8)
    told = "; ".join(
        f"{cut.method} misses {cut.error[at_8]:.0%} of its update, {cut.losses[1][at_8]:.2f} "
        f"({cut.whole:.2f} whole)"
        for cut in best
    )
    alt = f"At rank 8, with the new task's loss above its floor: {told}."
    data = {f"missing, {cut.method}": cut.error for cut in best}
    return fig, alt, data | {f"loss, {cut.method}": cut.losses[1] for cut in best}
