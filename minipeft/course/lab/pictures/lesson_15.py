"""The pictures of lesson 15: matched budgets, rates, somebody else's benchmark, the chooser."""

from collections.abc import Mapping, Sequence

from ...lessons.benchmark import Run, standard_error
from ...lessons.choosing import Choice
from ...lessons.matched import Matched
from ..drawing import draw_lines
from ..figure import COLORS, plt

Picture = tuple[object, str, dict]  # (figure, alt text, data), as `figure` takes them
POINTS = 100  # of a share
FAR_APART = 0.03  # accuracies whose names don't overlap
FAMILIES = {  # the beginning of a method's name: its colour
    "LoRA+": "lora+", "LoRA": "lora", "rsLoRA": "rslora", "DoRA": "dora", "PiSSA": "pissa",
    "VeRA": "vera", "(IA)3": "ia3", "norms": "base", "BitFit": "bitfit", "parallel": "parallel",
    "Houlsby": "houlsby", "prefix": "prefix", "prompt": "prompt", "full": "full",
    "last block": "partial",
}  # fmt: skip
STYLES = {"LoRA": "-o", "rsLoRA": "--s", "DoRA": ":^", "PiSSA": "-.D", "LoRA+": "-v"}


def color_of(method: str) -> str:
    """The colour of a method by the beginning of its name."""
    return COLORS[next(key for name, key in FAMILIES.items() if method.startswith(name))]


def matched_picture(points: Sequence[Matched]) -> Picture:
    """Losses above the floor by budget, the best first, with their spread; full tuning across."""
    budgets = sorted({point.budget for point in points if point.budget})
    beside = [point for point in points if point.budget is None]
    fig, axes = plt.subplots(1, len(budgets), figsize=(11, 3.6), sharex=True)
    for ax, budget in zip(axes, budgets, strict=True):
        there = sorted((p for p in points if p.budget == budget), key=lambda p: -p.learned)
        for row, point in enumerate(there):
            color = color_of(point.method)
            ax.plot(point.spread, [row, row], color=color, linewidth=3, alpha=0.5)
            ax.plot(point.learned, row, "o", color=color)
        ax.set_yticks(range(len(there)), [point.method for point in there])
        for point in beside:
            ax.axvline(point.learned, color=color_of(point.method), linestyle=":")
        ax.set(title=f"about {budget:,} numbers", xlabel="chef: loss above its floor", xscale="log")
        ax.set_xticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
    for point in beside:
        name = point.method.replace(" ", "\n")
        axes[0].annotate(name, (point.learned, 0), (3, 0), textcoords="offset points",
                         color=color_of(point.method), fontsize=8.5, va="center")  # fmt: skip
    said = []
    for budget in budgets:
        there = sorted((p for p in points if p.budget == budget), key=lambda p: p.learned)
        first, last = there[0], there[-1]
        said.append(
            f"{budget:,} numbers: from {first.method} {first.learned:.2f} to {last.method} "
            f"{last.learned:.2f}"
        )
    alt = f"Loss above the chef's floor at about {'; '.join(said)}. "
    alt += ", ".join(f"{point.method} {point.learned:.2f}" for point in beside) + " stand beside."
    data = {f"{b:,}": [p.learned for p in points if p.budget == b] for b in budgets}
    return fig, alt, data | {point.method: point.learned for point in beside}


def rates_picture(
    curves: Mapping[str, Mapping[float, float]], tuned: Mapping[str, Matched]
) -> Picture:
    """LoRA and its variants by learning rate: seed 0; at the chosen rate all seeds, as a bar.

    curves: {name: {rate: loss}}. tuned: {name: the method at its chosen rate}.
    """
    fig, ax = plt.subplots(figsize=(7.6, 3.8))
    series = {name: (list(curve), list(curve.values())) for name, curve in curves.items()}
    colors = {name: FAMILIES[name] for name in curves}
    draw_lines(ax, series, colors=colors, styles=STYLES, log="xy", labels=False,
               xlabel="learning rate (LoRA+: of A)",
               ylabel="chef: loss above its floor")  # fmt: skip
    for number, name in enumerate(curves):
        point, beside = tuned[name], 1.02 ** (number - len(curves) // 2)  # bars of one rate
        ax.vlines(point.rate * beside, *point.spread, color=color_of(name), linewidth=6, alpha=0.35)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    told = ", ".join(
        f"{name} {low:.2f} to {high:.2f} at {tuned[name].rate:g}"
        for name, (low, high) in ((name, tuned[name].spread) for name in curves)
    )
    alt = f"Loss above the floor by rate. At the chosen rate it is, by seed: {told}."
    return fig, alt, {name: list(curve.values()) for name, curve in curves.items()}


NAMED = {  # runs that the lesson talks about: colour, name, and how far it stands from its point
    "lora/rank64-rslora": ("rslora", "rsLoRA, r 64", (6, 30)),
    "lora/rank64": ("lora", "LoRA, r 64", (-2, 40)),
    "full-finetuning/lr_0.00001": ("full", "full", (-2, -38)),
    "lora/rank32-dora": ("dora", "DoRA, r 32", (4, 27)),
    "prefixtuning/tokens50-init_prefix-lr_0.005": ("prefix", "prefix, best", (4, 26)),
    "prefixtuning/lr_0.001": ("prefix", "prefix, worst", (-8, -26)),
    "ia3/all-attn-5k-lr0.005": ("ia3", "(IA)3, best", (34, -34)),
    "ia3/default": ("ia3", "(IA)3, default", (4, 26)),
}


def benchmark_picture(runs: Sequence[Run], behind: Sequence[Run]) -> Picture:
    """All accuracies by rank with two standard errors to each side; the undecided ones shaded.

    behind: the runs that the best one is not known to beat.
    """
    fig, ax = plt.subplots(figsize=(9.6, 4))
    ax.axvspan(-0.5, len(behind) + 0.5, color=COLORS["muted"], alpha=0.4, linewidth=0)
    for place, run in enumerate(runs):
        key, label, shift = NAMED.get(run.name, ("floor", "", (0, 0)))
        error, share = 2 * standard_error(run.accuracy), run.accuracy
        ax.errorbar(place, POINTS * share, POINTS * error, fmt="o", color=COLORS[key],
                    markersize=6 if label else 3, zorder=3 if label else 1)  # fmt: skip
        if label:
            side = "left" if shift[1] > 0 else "right"
            ax.annotate(label, (place, POINTS * share), shift, textcoords="offset points",
                        color=COLORS[key], ha=side, fontsize=9)  # fmt: skip
    ax.set(xlabel="rank in the table", ylabel="GSM8K: right answers, %", xlim=(-1, len(runs)))
    alt = f"Accuracies of {len(runs)} runs from {POINTS * runs[0].accuracy:.1f} to "
    alt += f"{POINTS * runs[-1].accuracy:.1f}%, with two standard errors to each side. The shaded "
    alt += f"{len(behind)} are within two standard errors of the best one."
    return fig, alt, {"accuracy": [POINTS * run.accuracy for run in runs]}


def pareto_picture(runs: Sequence[Run], front: Sequence[Run]) -> Picture:
    """Accuracy against the size of the file; the runs that no other beats are joined."""
    fig, ax = plt.subplots(figsize=(9.6, 4))
    megabytes = {run.name: run.file_bytes / 1e6 for run in runs}
    others = [run for run in runs if run not in front]
    ax.plot([megabytes[r.name] for r in others], [POINTS * r.accuracy for r in others], "o",
            color=COLORS["floor"], markersize=4)  # fmt: skip
    ax.plot([megabytes[r.name] for r in front], [POINTS * r.accuracy for r in front], "-o",
            color=COLORS["first"])  # fmt: skip
    said = -1.0
    for run in front:
        if run.accuracy - said < FAR_APART:
            continue
        said = run.accuracy
        side, shift = ("left", (9, -3)) if run == front[0] else ("right", (-6, 6))
        ax.annotate(run.name.split("/")[0], (megabytes[run.name], POINTS * run.accuracy), shift,
                    textcoords="offset points", ha=side, fontsize=9,
                    color=COLORS["first"])  # fmt: skip
    ax.set(xscale="log", xlabel="file of the adapter, MB", ylabel="GSM8K: right answers, %")
    told = ", ".join(f"{r.name} {POINTS * r.accuracy:.1f}%" for r in front)
    alt = f"{len(front)} of {len(runs)} runs are beaten by none in accuracy and size of the file, "
    alt += f"the smallest file first: {told}."
    return fig, alt, {"front, MB": [megabytes[r.name] for r in front],
                      "front, %": [POINTS * r.accuracy for r in front]}  # fmt: skip


def chooser_picture(choices: Sequence[Choice], room: float, title: str) -> Picture:
    """The widget: what a step with each method takes, in their order; the card's line across.

    room: of the card, in GB.
    """
    fig, (ax, side) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=[1.1, 1])
    built = [choice for choice in choices if choice.cost]
    for row, choice in enumerate(reversed(built)):
        color = COLORS["first" if choice.possible else "muted"]
        needed = choice.cost.needed / 1e9
        ax.barh(row, needed, 0.6, color=color)
        beyond = " and more" if choice.cost.at_least else ""
        ax.text(needed, row, f" {needed:.1f}{beyond}", va="center", fontsize=8.5)
    ax.set_yticks(range(len(built)), [choice.method for choice in reversed(built)])
    ax.axvline(room, color=COLORS["wrong"], linestyle=":")
    ax.text(room, len(built) - 0.35, "the card", color=COLORS["wrong"], ha="center")
    widest = max([room, *(c.cost.needed / 1e9 for c in built)])
    ax.set(xlim=(0, 1.25 * widest), xlabel="GB at the peak of a step")
    ax.set_title(title, pad=16)
    side.axis("off")
    side.text(0, 1, _why(choices), va="top", fontsize=8.5, transform=side.transAxes)
    possible = [choice.method for choice in choices if choice.possible]
    alt = f"{title}: {', '.join(possible) or 'nothing'} in this order; not possible: "
    alt += f"{', '.join(c.method for c in choices if not c.possible) or 'none'}."
    return fig, alt, {choice.method: choice.cost.needed / 1e9 for choice in built}


def _why(choices: Sequence[Choice]) -> str:
    """The reasons of the first two choices and of the last, in lines that fit."""
    parts = []
    for choice in [*choices[:2], choices[-1]]:
        parts.append(f"{choice.method}{'' if choice.possible else ': not here'}")
        for reason in choice.reasons:
            parts.append(_wrapped(str(reason)))
        if not choice.reasons:
            parts.append("   nothing speaks against it")
    return "\n".join(parts)


def _wrapped(text: str, wide: int = 62) -> str:
    lines, line = [], "   "
    for word in text.split():
        if len(line) + len(word) > wide:
            lines.append(line)
            line = "     "
        line += f"{word} "
    return "\n".join([*lines, line])
