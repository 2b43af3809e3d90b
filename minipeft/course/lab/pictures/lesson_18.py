"""The pictures of lesson 18: entries against par, the card of a hole, and a course of guesses."""

from collections.abc import Sequence

from ...golf import HOLES, Card, Recorded, pareto
from ...golf.holes import Hole
from ..calibration import FACTOR, by_confidence, ratios
from ..drawing import draw_bars
from ..figure import COLORS, plt
from ..predict import Prediction

Picture = tuple[object, str, dict]  # (figure, alt text, data), as `figure` takes them
PLACES = {  # of a name beside its point: right, up, and the side of the name that lies there
    "VeRA, r = 64": (-6, -12, "right"),
    "LoRA, r = 1": (8, -4, "left"),
    "LoRA, r = 2": (-6, -12, "right"),
    "norms": (-9, -11, "right"),
}
KEYS = {"numbers": "numbers in the file", "bytes": "bytes of the entry"}


def color_of(name: str) -> str:
    """The colour of an entry's method."""
    known = {
        "LoRA": "lora",
        "VeRA": "vera",
        "(IA)3": "ia3",
        "norms": "diff",
        "last norm": "partial",
    }
    return COLORS[next((c for word, c in known.items() if name.startswith(word)), "wrong")]


def front_picture(entries: Sequence[Recorded], mine: Card, hole: Hole) -> Picture:
    """Numbers against loss with its front, and against what the own world lost."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 4))
    parts = {"above": "new task: loss above its floor", "own": "own world: above its floor"}
    for ax, (key, label) in zip(axes, parts.items(), strict=True):
        for entry in entries:
            x, y, color = entry.numbers, getattr(entry, key), color_of(entry.name)
            ax.plot([x], [y], "o", color=color)
            if key == "above":
                ax.plot([x, x], entry.spread, color=color, linewidth=1)
            dx, dy, side = PLACES.get(entry.name, (6, 6, "left"))
            ax.annotate(
                entry.name, (x, y), (dx, dy), textcoords="offset points", ha=side,
                color=color, fontsize=8,
            )  # fmt: skip
        ax.plot([mine.numbers], [getattr(mine, key)], "D", color=COLORS["wrong"], fillstyle="none",
                markersize=10)  # fmt: skip
        ax.set(xscale="log", yscale="log", xlabel=KEYS["numbers"], ylabel=label)
        ax.set_xlim(100, 700_000)
        ax.axvline(hole.par, color=COLORS["floor"], linestyle=":", zorder=0)
    front = pareto(entries)
    axes[0].step(
        [e.numbers for e in front], [e.above for e in front], where="post",
        color=COLORS["muted"], zorder=0,
    )  # fmt: skip
    axes[0].set_ylim(top=8)
    axes[1].set_ylim(top=20)
    axes[0].axhline(hole.bound, color=COLORS["floor"], linestyle="--", zorder=0)
    axes[0].text(110, hole.bound, "the bound", va="bottom", fontsize=8, color=COLORS["base"])
    axes[0].set_title("grey line: what nothing beats")
    axes[1].set_title("dotted: par. Diamond: your run")
    alt = "Numbers, loss above the floor, own world above its floor: "
    alt += "; ".join(f"{e.name} {e.numbers:,}, {e.above:.2f}, {e.own:.1f}" for e in entries)
    alt += f". The bound is {hole.bound:g}. Not beaten: {', '.join(e.name for e in front)}."
    data = {key: [getattr(e, key) for e in entries] for key in ("numbers", "above", "own")}
    return fig, alt, data


def card_picture(hole: str, entry: Recorded, entries: Sequence[Recorded], key: str) -> Picture:
    """The widget: one entry's card, its numbers or bytes among all, and its losses."""
    bound, most = HOLES[hole].bound, max(getattr(e, key) for e in entries)
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.6), width_ratios=(1.6, 1))
    for row, other in enumerate(sorted(entries, key=lambda e: getattr(e, key))):
        own = other.name == entry.name
        color = color_of(other.name) if own else COLORS["muted"]
        left.barh([row], [getattr(other, key)], color=color)
        left.text(getattr(other, key), row, f" {getattr(other, key):,}", va="center", fontsize=8)
    left.set(xscale="log", xlim=(100, 12 * most), xlabel=KEYS[key])
    left.set_yticks(
        range(len(entries)), [e.name for e in sorted(entries, key=lambda e: getattr(e, key))]
    )
    bars = {"new task": entry.above, "own world": entry.own}
    colors = {"new task": "first", "own world": "second"}
    top = 1.25 * max(entry.above, entry.own, bound)
    draw_bars(right, bars, colors=colors, ylim=(0, top), xlim=(-0.5, 1.9),
              ylabel="nats above the floor", title=f"{hole}: {entry.name}")  # fmt: skip
    right.axhline(bound, color=COLORS["floor"], linestyle="--")
    right.text(1.38, bound, "bound", va="bottom", color=COLORS["base"])
    said = "within" if entry.above <= bound else "above"
    alt = f"{hole}, {entry.name}: {entry.numbers:,} numbers, {entry.bytes:,} bytes, "
    alt += f"{entry.flops:,} FLOPs more a token; new task {entry.above:.2f} above its floor, "
    alt += f"{said} the bound of {bound:g}; own world {entry.own:.1f} above its floor."
    data = {"numbers": entry.numbers, "bytes": entry.bytes, "FLOPs": entry.flops}
    return fig, alt, data | {"new task": entry.above, "own world": entry.own}


def calibration_picture(mine: Sequence[Prediction], other: Sequence[Prediction]) -> Picture:
    """Guess over answer by lesson, confidence against hits: yours and a made-up student's."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(1.7, 1))
    left.axhspan(1 / FACTOR, FACTOR, color=COLORS["muted"], alpha=0.35, linewidth=0)
    left.axhline(1, color=COLORS["floor"], linestyle=":")
    right.plot([0, 1], [0, 1], ":", color=COLORS["floor"])
    right.text(0.03, 0.09, "as sure as right", fontsize=8, color=COLORS["base"], rotation=38)
    data = {}
    for who, predictions, color, form in (
        ("made up", other, COLORS["floor"], "o"),
        ("you", mine, COLORS["wrong"], "D"),
    ):
        if found := ratios(predictions):
            lessons = [int(r.lesson) if r.lesson.isdigit() else -1 for r in found]
            left.plot(lessons, [r.ratio for r in found], form, color=color, alpha=0.7)
            data[f"guess / answer, {who}"] = [r.ratio for r in found]
        if sure := by_confidence(predictions):
            right.plot([s.stated for s in sure], [s.right for s in sure], f"-{form}", color=color)
            data[f"right, {who}"] = [s.right for s in sure]
    left.set(yscale="log", xlabel="lesson", ylabel="guess / answer", xticks=range(0, 19, 3))
    ends = [4.0, *(r for one in data for r in data[one] if one.startswith("guess"))]
    reach = 1.3 * max(max(end, 1 / end) for end in ends)
    steps = [step for step in (0.01, 0.1, 0.25, 0.5, 1, 2, 4, 10, 100) if 1 / reach < step < reach]
    left.set(ylim=(1 / reach, reach))
    left.set_yticks(steps, [f"{step:g}" for step in steps])
    left.minorticks_off()
    left.set_title("grey: made up; red: you. Band: within a factor of 2")
    right.set(xlabel="stated confidence", ylabel="share that was right", xlim=(0, 1.03),
              ylim=(0, 1.03))  # fmt: skip
    return fig, calibration_alt(mine, other), data


def calibration_alt(mine: Sequence[Prediction], other: Sequence[Prediction]) -> str:
    """What the picture of the guesses shows, in words."""
    said = []
    for who, predictions in (("a made-up student", other), ("you", mine)):
        found = ratios(predictions)
        near = sum(r.near for r in found)
        part = f"{near} of {len(found)} numeric guesses within a factor of 2" if found else "none"
        sure = by_confidence(predictions)
        if sure:
            part += "; stated and right " + ", ".join(f"{s.stated:.0%} {s.right:.0%}" for s in sure)
        said.append(f"{who}: {part}")
    return (
        f"Guess over answer by lesson, and confidence against the share right. {'. '.join(said)}."
    )
