"""The pictures of lesson 06: one row, learning by rate, dM and dD, two dials, AdaLoRA's ranks."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...lessons.recorded import Tuned
from ...lessons.relatives import Correlation
from ..drawing import draw_lines, lines
from ..figure import COLORS, plt

Picture = tuple[object, str, dict]  # (figure, alt text, data), as `figure` takes them


def row_picture(w0: Tensor, added: Tensor, m: float) -> Picture:
    """Lesson 06: one row of a layer with two inputs: W0, LoRA's V = W0 + s B A, DoRA's m V/||V||.

    Args:
        w0, added: the row (2,) and what s B A adds to it.
        m: the magnitude that was learned.
    """
    V = w0 + added
    W = m * V / V.norm()
    fig, ax = plt.subplots(figsize=(6.2, 3.9))
    angle = torch.linspace(-0.15, 1.75, 80)
    for radius, color in ((w0.norm().item(), "base"), (m, "dora")):
        ax.plot(radius * angle.cos(), radius * angle.sin(), ":", color=COLORS[color], linewidth=1)
    for tip, color, name in (
        (w0, "base", "row of W0"),
        (V, "lora", "V: LoRA's row"),
        (W, "dora", "DoRA's row,\nof length m"),
    ):
        arrow = {"arrowstyle": "-|>", "color": COLORS[color], "linewidth": 2, "shrinkA": 0}
        ax.annotate("", tip.tolist(), (0, 0), arrowprops=arrow | {"shrinkB": 0})
        if color == "dora":
            ax.text(*(0.6 * tip - 0.04).tolist(), name, color=COLORS[color], ha="right")
        else:
            ax.text(*(tip + 0.03).tolist(), name, color=COLORS[color], va="bottom")
    arrow = {"arrowstyle": "->", "color": COLORS["lora"], "linestyle": "--"}
    ax.annotate("", V.tolist(), w0.tolist(), arrowprops=arrow)
    middle = (w0 + V) / 2
    ax.text(*(middle + 0.04).tolist(), "s B A", color=COLORS["lora"])
    reach = 1.15 * max(tip.norm().item() for tip in (w0, V, W))
    ax.set(xlim=(-0.3 * reach, 1.2 * reach), ylim=(-0.1, reach), aspect="equal")
    ax.set(xlabel="weight of the first input", ylabel="weight of the second")
    lengths = {"W0": w0.norm().item(), "LoRA": V.norm().item(), "DoRA": W.norm().item()}
    told = ", ".join(f"{name} {length:.2f}" for name, length in lengths.items())
    alt = f"One row as an arrow. Its length: {told}. LoRA's step turns it and changes its length "
    alt += "at once; DoRA keeps LoRA's direction and takes its length from m."
    return fig, alt, lengths


def rates_picture(found: Mapping[str, Sequence[Tuned]], mine: tuple[float, float]) -> Picture:
    """Lesson 06: what each method learned by its rate, and learned against forgotten.

    Args:
        found: {method: its points}; a name with "r = 1" is drawn in the method's colour, dashed.
        mine: (learned, forgotten) of the lesson's own run.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.9))
    colors = {name: name.split(",")[0] for name in found}
    marks = {"full": "o", "lora": "s", "dora": "^"}
    styles = {name: ("--" if "," in name else "-") + marks[colors[name]] for name in found}
    by_rate = {
        name: (
            [p.rate for p in points],
            [p.spread[0] for p in points],
            [p.learned for p in points],
            [p.spread[1] for p in points],
        )
        for name, points in found.items()
    }
    common = {"log": "xy", "colors": colors, "styles": styles, "labels": False}
    draw_lines(left, by_rate, xlabel="rate", ylabel="new task: loss above its floor", **common)
    series = {n: ([p.learned for p in ps], [p.forgotten for p in ps]) for n, ps in found.items()}
    series |= {"your run": ([mine[0]], [mine[1]])}
    common["colors"] = colors | {"your run": "wrong"}
    common["styles"] = styles | {"your run": "D"}
    xlabel, ylabel = "new task: loss above its floor", "own world: loss above its floor"
    draw_lines(right, series, xlabel=xlabel, ylabel=ylabel, **common)
    handles, names = right.get_legend_handles_labels()
    right.legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5))
    best = {name: min(points, key=lambda p: p.learned) for name, points in found.items()}
    told = "; ".join(f"{n} {p.learned:.2f} (rate {p.rate:g})" for n, p in best.items())
    alt = f"New task's loss above its floor, each method at its best rate: {told}. "
    alt += f"Your run: {mine[0]:.2f}, and {mine[1]:.1f} above the own world's floor."
    return fig, alt, {name: [p.learned for p in points] for name, points in found.items()}


def moved_picture(found: Sequence[Correlation]) -> Picture:
    """Lesson 06: dM against dD of the query matrices, a panel for each method."""
    fig, axes = plt.subplots(1, len(found), figsize=(10.5, 3.4))
    data = {}
    for ax, one in zip(axes, found, strict=True):
        ax.plot(
            [p.direction for p in one.points],
            [p.magnitude for p in one.points],
            "o",
            color=COLORS[one.method],
        )
        ends = [1.08 * max(values) for values in zip(*one.points, strict=True)]
        ax.set(title=f"{one.method}: {one.mean:+.2f}", xlabel="dD", ylim=(0, ends[0]))
        ax.set_xlim(0, ends[1])
        data |= {f"dD, {one.method}": [p.direction for p in one.points]}
        data |= {f"dM, {one.method}": [p.magnitude for p in one.points]}
    axes[0].set_ylabel("dM")
    told = ", ".join(f"{one.method} {one.mean:+.2f}" for one in found)
    alt = "Four blocks at five times each: how far the query matrices moved in direction (dD) and "
    alt += f"in magnitude (dM). Correlation, mean of three seeds: {told}."
    return fig, alt, data


def dials_picture(
    losses: Mapping[str, tuple[float, float]], magnitude: float, direction: float
) -> Picture:
    """Lesson 06's widget: the losses at a position of both dials, between base and trained.

    Args:
        losses: {"base": (new task, own world), "yours": ..., "trained": ...}, above the floors.
        magnitude, direction: the positions of the dials; 0 is W0's, 1 the trained.
    """
    losses = {name: losses[name] for name in ("base", "yours", "trained")}
    places = range(len(losses))
    task, own = ([max(pair[i], 5e-3) for pair in losses.values()] for i in (0, 1))
    fig = lines(
        {"new task": task, "own world": own},
        list(places),
        log="y",
        colors={"new task": "dora", "own world": "base"},
        styles={"new task": "-o", "own world": "--s"},
        ylabel="loss above the floor",
        ylim=(4e-3, 30),
        title=f"magnitude at {magnitude:g}, direction at {direction:g}",
    )
    names_of = ("new task", "own world")
    names = ["base\n(0, 0)", f"yours\n({magnitude:g}, {direction:g})", "as trained\n(1, 1)"]
    fig.axes[0].set_xticks(list(places), names)
    fig.axes[0].set_xlim(-0.3, len(losses) - 0.7)
    told = ", ".join(f"{name} {a:.2f} and {b:.2f}" for name, (a, b) in losses.items())
    alt = f"With magnitude at {magnitude:g} and direction at {direction:g}, loss above the floor "
    alt += f"on the new task and on the own world: {told}."
    data = {
        name: [round(pair[i], 2) for pair in losses.values()] for i, name in enumerate(names_of)
    }
    return fig, alt, data


def ranks_picture(seen: Sequence[Mapping[str, int]], step: int) -> Picture:
    """Lesson 06's widget: AdaLoRA's rank of each matrix after a step, and the budget by step.

    Args:
        seen: of `relatives.ranks_while_training`.
    """
    ranks, total = seen[step], [sum(one.values()) for one in seen]
    kinds = list(dict.fromkeys(path.rpartition(".")[2] for path in ranks))
    table = torch.tensor(list(ranks.values())).view(-1, len(kinds)).T  # (kinds, blocks)
    most = max(seen[0].values())
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.7), width_ratios=(1.3, 1))
    left.imshow(table, cmap="Blues", vmin=0, vmax=1.4 * most, aspect="auto")
    for row, values in enumerate(table.tolist()):
        for column, rank in enumerate(values):
            left.text(column, row, str(rank), ha="center", va="center")
    left.set_xticks(range(table.shape[1]), [f"block {n}" for n in range(table.shape[1])])
    left.set_yticks(range(len(kinds)), kinds)
    left.grid(False)
    left.set_title(f"rank of each matrix after step {step}")
    right.plot(range(len(total)), total, color=COLORS["adalora"])
    right.plot(step, total[step], "o", color=COLORS["wrong"], markersize=8)
    right.set(xlabel="step", ylabel="triplets in the model", ylim=(0, 1.1 * total[0]))
    right.set_title(f"{total[step]} of {total[0]} are left")
    empty = sum(rank == 0 for rank in ranks.values())
    alt = f"After step {step} AdaLoRA has {total[step]} of {total[0]} triplets: ranks from "
    alt += f"{min(ranks.values())} to {max(ranks.values())}, and {empty} of {len(ranks)} matrices "
    alt += "with none."
    return fig, alt, {"ranks": list(ranks.values()), "triplets by step": total}
