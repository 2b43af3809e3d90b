"""The pictures of lesson 10: marks on a ruler, levels under a histogram, errors by block size."""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import NullLocator

from ..drawing import panels
from ..figure import COLORS, plt

TYPES = {"nf4": "nf4", "int4": "first", "e2m1": "third", "fp4": "fp4", "e3m0": "wrong"}
TYPES |= {"uniform4": "base", "mxfp4": "second", "nvfp4": "adalora", "int4, one absmax": "first"}

LEAST = 0.2  # thousandths of a nat; less is drawn here
NAMED = {  # of the types in `costs_picture`: where their name stands
    "nf4": ((-8, 2), "right"),
    "nvfp4": ((8, 6), "left"),
    "e2m1": ((4, -12), "left"),
    "fp4": ((8, -2), "left"),
    "int4": ((-8, 6), "right"),
    "mxfp4": ((-8, 4), "right"),
    "e3m0": ((8, -4), "left"),
    "int4, one absmax": ((-8, 6), "right"),
}


def ruler_picture(weights: Sequence, levels: Sequence, codes: Sequence[int], packed: Sequence[int]):
    """Lesson 10: a block of weights, each over its absmax; the nearest levels; codes; bytes."""
    fig, ax = plt.subplots(figsize=(9, 3.4))
    largest = max(abs(w) for w in weights)
    for number, level in enumerate(levels):
        ax.plot([level, level], [1.0, 1.12], color=COLORS["base"], linewidth=1)
        ax.text(level, 0.86, str(number), ha="center", fontsize=7, color=COLORS["base"])
    ax.plot([-1, 1], [1.06, 1.06], color=COLORS["base"], linewidth=1)
    for w, code in zip(weights, codes, strict=True):
        arrow = {"arrowstyle": "->", "color": COLORS["nf4"], "shrinkA": 3, "shrinkB": 1}
        ax.annotate("", (levels[code], 1.14), (w / largest, 1.9), arrowprops=arrow)
        ax.plot(w / largest, 1.9, "o", color=COLORS["nf4"], markersize=6)
    width = 2 / len(packed)
    for place, (byte, first, second) in enumerate(
        zip(packed, codes[::2], codes[1::2], strict=True)
    ):
        left = -1 + place * width
        box = {"color": COLORS["int8"], "ec": "white", "linewidth": 2}
        ax.add_patch(plt.Rectangle((left, 0.1), width, 0.45, **box))
        text = f"{first} | {second}\nbyte {byte}"
        ax.text(left + width / 2, 0.32, text, ha="center", va="center", fontsize=9)
    ax.text(-1.42, 1.9, "weight / absmax", va="center", fontsize=9)
    ax.text(-1.42, 1.0, "levels and codes", va="center", fontsize=9)
    ax.text(-1.42, 0.32, "two codes, one byte", va="center", fontsize=9)
    ax.set(xlim=(-1.43, 1.04), ylim=(0, 2.05))
    ax.axis("off")
    return fig


def levels_picture(fit, title: str, bins: int = 121):
    """Lesson 10: the histogram of weights over their absmax, and the levels as lines through it."""
    fig, ax = plt.subplots(figsize=(7.6, 3.6))
    heights, _, _ = ax.hist(fit.scaled.numpy(), bins, (-1, 1), density=True, color=COLORS["int8"])
    for level in fit.levels.tolist():
        ax.axvline(level, color=COLORS["nf4"], linewidth=1, ymax=0.9)
    # The bars of the absmax values themselves, at -1 and 1, may be higher than all others.
    ax.set_ylim(0, 1.25 * max(sorted(heights)[-8], 0.5))
    ax.set(xlim=(-1.02, 1.02), xlabel="weight / absmax of its block", ylabel="density", title=title)
    return fig


def blocks_picture(sizes: Sequence[int], errors: Mapping, entropies: Mapping, needed: Mapping):
    """Lesson 10: error and code entropy by block size, and the absmax in standard deviations.

    Args:
        errors, entropies: {type: values by block size}.
        needed: {"name": values by block size} of the right panel.
    """
    common = {"x": sizes, "log": "x", "ticks": sizes[::2], "xlabel": "weights in a block"}
    return panels(
        {"series": errors, "title": "squared error (%)", "colors": TYPES, **common},
        {"series": entropies, "title": "entropy of the codes (bits)", "colors": TYPES, **common},
        {
            "series": needed,
            "title": "absmax / standard deviation",
            "colors": {"measured": "first", "NF4 assumes": "nf4"},
            **common,
        },
        size=(11.5, 3.4),
    )


def costs_picture(costs: Mapping):
    """Lesson 10: what each type adds to the base's loss, by its error, over a band of noise.

    Args:
        costs: of `four_bits.recorded_costs`.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    noise = [cost for name, cost in costs.items() if name.startswith("noise")]
    points = {name: cost for name, cost in costs.items() if name in NAMED}
    sizes = [100 * cost.error for cost in noise]
    mean, least, most = ([1000 * cost.added[i] for cost in noise] for i in range(3))
    added = {name: 1000 * cost.added[0] for name, cost in points.items()}
    fig, ax = plt.subplots(figsize=(7.6, 4))
    ax.fill_between(sizes, [max(low, LEAST) for low in least], most, color=COLORS["muted"])
    ax.plot(sizes, mean, color=COLORS["base"])
    ax.annotate("noise", (sizes[-1], mean[-1]), (5, 0), textcoords="offset points", va="center")
    for name, cost in points.items():
        place = (100 * cost.error, added[name])
        ax.plot(*place, "o", color=COLORS[TYPES.get(name, "nf4")], markersize=7)
        offset, align = NAMED[name]
        ax.annotate(name, place, offset, textcoords="offset points", ha=align, va="center")
    ax.set(xscale="log", yscale="log", xlabel="error of the weights (%)", xlim=(0.45, 11))
    ax.set(ylabel="added to the loss (thousandths of a nat)", ylim=(LEAST, 20))
    for axis, ticks in ((ax.xaxis, (0.5, 1, 2, 5, 10)), (ax.yaxis, (0.2, 0.5, 1, 2, 5, 10, 20))):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_minor_locator(NullLocator())
    said = ", ".join(f"{name} {each:.1f}" for name, each in added.items())
    alt = f"Noise adds {mean[0]:.1f} to {mean[-1]:.1f} thousandths of a nat for errors of "
    alt += f"{sizes[0]:.1f} to {sizes[-1]:.0f}%, growing with the error. The types add: {said}."
    return fig, alt, added | {"noise": mean}
