"""The pictures of lesson 10: marks on a ruler, levels under a histogram, errors by block size."""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import NullLocator

from ..drawing import lines, panels
from ..figure import COLORS, plt

TYPES = {"nf4": "nf4", "int4": "first", "e2m1": "third", "fp4": "fp4", "e3m0": "wrong"}
TYPES |= {"uniform4": "base", "mxfp4": "second", "nvfp4": "adalora", "int4, one absmax": "first"}

LEAST = 0.2  # thousandths of a nat; less is drawn here
NAMED = {  # of the types in `costs_picture`: where their name stands
    "nf4": ((-8, 2), "right"),
    "nvfp4": ((0, -12), "center"),
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


def levels_picture(fit, quant_type: str, block: int, weights: str):
    """Lesson 10: the histogram of weights over their absmax, and the levels as lines through it.

    Args:
        fit: of `four_bits.fit`, and for whom: the type, the block size, the name of the weights.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    fig, ax = plt.subplots(figsize=(7.6, 3.6))
    heights, _, _ = ax.hist(fit.scaled.numpy(), 121, (-1, 1), density=True, color=COLORS["int8"])
    for level in fit.levels.tolist():
        ax.axvline(level, color=COLORS["nf4"], linewidth=1, ymax=0.9)
    # The bars of the absmax values themselves, at -1 and 1, may be higher than all others.
    ax.set_ylim(0, 1.25 * max(sorted(heights)[-8], 0.5))
    said = f"error {fit.error:.2%}, entropy {fit.entropy:.2f} bits"
    ax.set(xlim=(-1.02, 1.02), xlabel="weight / absmax of its block", ylabel="density")
    ax.set_title(f"{quant_type}, blocks of {block}: {fit.bits:.3f} bits, {said}")
    alt = f"The {weights} weights over their absmax in blocks of {block}, and {len(fit.levels)} "
    alt += f"levels of {quant_type}: {said}."
    data = {"levels": fit.levels, "error (%)": 100 * fit.error, "entropy": fit.entropy}
    return fig, alt, data


def tails_picture(freedom: Sequence, errors: Mapping[str, Sequence]):
    """Lesson 10: the absolute error of some types on Student's t, by its degrees of freedom.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    fig = lines(
        errors,
        x=freedom,
        log="x",
        colors=TYPES,
        ticks=freedom[:-1],
        xlim=(1.1 * freedom[0], 0.96 * freedom[-1]),
        xlabel="degrees of freedom (heavier tails to the right)",
        ylabel="absolute error (%)",
    )
    ends = ", ".join(f"{name} {row[0]:.1f}% and {row[-1]:.1f}%" for name, row in errors.items())
    alt = f"Absolute error with {freedom[0]} and with {freedom[-1]} degrees of freedom: {ends}."
    return fig, alt, errors


def blocks_picture(sizes: Sequence[int], fits: Mapping[str, Sequence], peaks: Sequence, assumed):
    """Lesson 10: error and code entropy by block size, and the absmax in standard deviations.

    Args:
        fits: {type: `four_bits.fit` for each of the sizes}.
        peaks: mean absmax over the standard deviation, for each of the sizes.
        assumed: what NF4's outermost level stands for.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    errors = {name: [100 * fit.error for fit in row] for name, row in fits.items()}
    entropies = {name: [fit.entropy for fit in row] for name, row in fits.items()}
    needed = {"measured": peaks, "NF4 assumes": [assumed] * len(sizes)}
    colors = TYPES | {"measured": "first", "NF4 assumes": "nf4"}
    common = {"x": sizes, "log": "x", "ticks": sizes[::2], "xlabel": "weights in a block"}
    titles = ["squared error (%)", "entropy of the codes (bits)", "absmax / standard deviation"]
    fig = panels(
        *(
            {"series": series, "title": title, "colors": colors, **common}
            for series, title in zip((errors, entropies, needed), titles, strict=True)
        ),
        size=(11.5, 3.4),
    )
    best = max(range(len(sizes)), key=lambda i: entropies["nf4"][i])
    usual = sizes.index(64)
    alt = f"NF4's codes are used most evenly in blocks of {sizes[best]}, "
    alt += f"{entropies['nf4'][best]:.2f} bits, where the absmax is {peaks[best]:.2f} standard "
    alt += f"deviations; NF4 assumes {assumed:.2f}. At 64 it is {peaks[usual]:.2f}, and the codes "
    alt += f"carry {entropies['nf4'][usual]:.2f} bits. The error grows with the block."
    data = {f"{name}: error (%)": row for name, row in errors.items()}
    data |= {f"{name}: entropy": row for name, row in entropies.items()} | needed
    return fig, alt, data


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
