"""The pictures of lesson 01: bytes by state, the baselines at every rate, the family tree."""

from collections.abc import Mapping, Sequence

from ..drawing import panels
from ..figure import COLORS, plt

STATES = {"weights": "base", "gradients": "second", "adam": "first", "master": "muted"}
CARDS = {"24 GB": 24e9, "80 GB": 80e9}
SELECTIVE = {"full": "full", "last block": "partial", "head": "bitfit", "norms": "diff"}
FAMILIES = {
    "selective": "trains some of the\nbase's own numbers",
    "additive": "trains new parts\nbeside the base",
    "reparameterized": "trains a short\ndescription of ΔW",
}


def cost_picture(states: Mapping[str, int], one_copy: int, tasks: int, title: str):
    """Lesson 01: bytes in memory by state beside two cards, and the copies on disk.

    Args:
        states: of `costs.full_tuning`.
        one_copy: bytes of one tuned model on disk.
        tasks: how many there are.
    """
    fig, (memory, disk) = plt.subplots(2, 1, figsize=(8.4, 3.6), height_ratios=(1.6, 1))
    widest, left = 1.06 * max(sum(states.values()), tasks * one_copy) / 1e9, 0.0
    for state, count in states.items():
        size = count / 1e9
        memory.barh([0], [size], 0.5, left=left, color=COLORS[STATES[state]])
        if size > 0.06 * widest:
            shown = f"{size:,.0f}" if size >= 10 else f"{size:.2g}"
            words = f"{'m and v' if state == 'adam' else state}\n{shown}"
            color = "black" if state == "master" else "white"
            memory.text(left + size / 2, 0, words, ha="center", va="center", color=color)
        left += size
    for name, size in CARDS.items():
        if 0.05 * widest < size / 1e9 < widest:
            memory.axvline(size / 1e9, color=COLORS["wrong"], linestyle="--")
            memory.text(size / 1e9, 0.4, f"a card of {name} ", color=COLORS["wrong"], ha="right")
    memory.set(title=title, xlabel="GB in memory while training", ylim=(-0.35, 0.6))
    for task in range(tasks):
        place = {"left": task * one_copy / 1e9, "edgecolor": "white", "color": COLORS["base"]}
        disk.barh([0], [one_copy / 1e9], 0.5, **place)
    disk.set(xlabel="GB on disk, a copy for each task", ylim=(-0.35, 0.35))
    for ax in (memory, disk):
        ax.set(xlim=(0, widest), yticks=[])
    return fig


def flops_picture(numbers: Mapping[str, float], flops: Mapping[str, float]):
    """Lesson 01: what each method trains and what a step of it takes, in per cent of full tuning.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    look = {"colors": {"lora": "lora", **SELECTIVE}, "ylim": (0, 118)}
    fig = panels(
        {"bars": numbers, "title": "numbers trained, % of the model", **look},
        {"bars": flops, "title": "FLOPs of a step, % of full fine-tuning", **look},
        size=(10, 3.2),
    )
    alt = "Numbers trained, and FLOPs, in per cent of full fine-tuning: "
    alt += "; ".join(f"{m} {numbers[m]:.1f} and {flops[m]:.0f}" for m in flops) + "."
    return fig, alt, {"numbers": list(numbers.values()), "FLOPs": list(flops.values())}


def baselines_picture(runs: Mapping[str, Sequence], mine: tuple[float, float]):
    """Lesson 01: each method at each of its rates, and what it learned against what it forgot.

    Args:
        runs: of `recorded.learning_and_forgetting`.
        mine: (learned, forgotten) of the lesson's own run of full fine-tuning.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    sweep = {
        m: ([p.rate for p in ps], [p.spread[0] for p in ps], [p.learned for p in ps],
            [p.spread[1] for p in ps])
        for m, ps in runs.items()
    }  # fmt: skip
    traded = {m: ([p.learned for p in ps], [p.forgotten for p in ps]) for m, ps in runs.items()}
    traded["your run"] = ([mine[0]], [mine[1]])
    colors = SELECTIVE | {"your run": "full"}
    fig = panels(
        {"series": sweep, "colors": colors, "log": "xy", "xlabel": "learning rate",
         "ylabel": "chef: loss above its floor", "title": "every method has its own rate"},
        {"series": traded, "colors": colors, "styles": {"your run": "D"}, "log": "xy",
         "xlabel": "chef: loss above its floor", "ylabel": "own world: above its floor",
         "title": "what was learned, what was forgotten"},
        size=(11, 4),
    )  # fmt: skip
    best = {m: min(ps, key=lambda p: p.learned) for m, ps in runs.items()}
    told = [
        f"{m} {p.learned:.2f} at rate {p.rate:g}, its own world then {p.forgotten:.2f}"
        for m, p in best.items()
    ]
    alt = f"Above the chef's floor at its best rate: {'; '.join(told)}. "
    alt += f"Your run: {mine[0]:.2f}, own world {mine[1]:.1f}."
    data = {m: ys for m, (_, _, ys, _) in sweep.items()}
    return fig, alt, data | {f"{m}, own world": ys for m, (_, ys) in traded.items()}


def answers_picture(curves: Mapping[str, Sequence]):
    """Lesson 01: trained on all tokens or on answers alone: what is learned and forgotten, by rate.

    curves: of `recorded.loss_over_answers`.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    learned = {
        name: tuple([getattr(p, key) for p in ps] for key in ("rate", "low", "mean", "high"))
        for name, ps in curves.items()
    }
    own = {name: ([p.rate for p in ps], [p.forgotten for p in ps]) for name, ps in curves.items()}
    common = {"colors": {"all tokens": "full", "the answer": "second"}, "log": "xy"}
    common["xlabel"] = "learning rate"
    fig = panels(
        {"series": learned, "title": "the answers", "ylabel": "loss above its floor", **common},
        {"series": own, "title": "its own world", "ylabel": "loss above its floor", **common},
        size=(10, 3.6),
    )
    best = {name: min(ps, key=lambda p: p.mean) for name, ps in curves.items()}
    told = "; ".join(f"{name} {p.mean:.3f} at rate {p.rate:g}" for name, p in best.items())
    lost = "; ".join(f"{name} {', '.join(f'{y:.2f}' for y in ys)}" for name, (_, ys) in own.items())
    alt = f"Loss on the answers above their floor, trained on {told}. "
    alt += f"Own world above its floor, by rate: {lost}."
    data = {f"answers, {name}": means for name, (_, _, means, _) in learned.items()}
    return fig, alt, data | {f"own world, {name}": ys for name, (_, ys) in own.items()}


def tree_picture(trained: Mapping[str, Mapping[str, int]]):
    """Lesson 01: the three families, with what each method trains on this base.

    trained: {"selective": {"norms": 1728, ...}, "additive": ..., "reparameterized": ...}.
    """
    fig, ax = plt.subplots(figsize=(9.4, 4.2))
    colors = {"selective": "partial", "additive": "adapter", "reparameterized": "lora"}
    line = {"color": COLORS["floor"], "linewidth": 1.2, "zorder": 0}
    ax.text(0.2, 2.5, "fine-tuning", va="center", ha="left", fontweight="bold")
    for place, (family, methods) in enumerate(trained.items()):
        middle = 4.2 - 1.7 * place
        ax.plot([1.75, 2.1, 2.1, 2.4], [2.5, 2.5, middle, middle], **line)
        ax.text(2.5, middle + 0.32, family, color=COLORS[colors[family]], fontweight="bold")
        ax.text(2.5, middle + 0.1, FAMILIES[family], va="top", fontsize=8.5)
        ax.plot([4.75, 5.0], [middle, middle], **line)
        ax.plot([5.0, 5.0], [middle - 0.6, middle + 0.6], **line)
        gap = 1.2 / max(len(methods) - 1, 1)
        for row, (method, count) in enumerate(methods.items()):
            height = middle + 0.6 - row * gap
            ax.plot([5.0, 5.15], [height, height], **line)
            ax.text(5.25, height, method, va="center", fontsize=9)
            ax.text(9.6, height, f"{count:,}", va="center", ha="right", fontsize=9)
    ax.text(9.6, 5.15, "numbers trained", ha="right", fontsize=8.5, style="italic")
    ax.set(xlim=(0, 9.8), ylim=(-0.05, 5.4))
    ax.axis("off")
    return fig
