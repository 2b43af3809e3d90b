"""The pictures of lesson 02: a matrix cut to a rank, and the spectra of updates."""

from collections.abc import Mapping, Sequence

from ..drawing import draw_lines
from ..figure import COLORS, plt


def cut_picture(picture, copy, shares: Sequence, rank: int, break_even: float):
    """Lesson 02: a picture, its copy of some rank, and the energy kept by rank.

    Args:
        picture, copy: arrays of one shape.
        shares: energy kept at ranks 1, 2, ..., in per cent.
        rank: of the copy.
        break_even: the rank from which the factors hold more numbers than the picture.
    """
    height, width = picture.shape
    fig, (whole, kept, curve) = plt.subplots(1, 3, figsize=(9, 2.9), width_ratios=(1, 1, 0.9))
    shades = {"cmap": "gray_r", "vmin": float(picture.min()), "vmax": float(picture.max())}
    whole.imshow(picture, **shades)
    whole.set(title=f"whole: {height * width:,} numbers", xticks=[], yticks=[])
    kept.imshow(copy, **shades)
    kept.set(title=f"rank {rank}: {rank * (height + width):,} numbers", xticks=[], yticks=[])
    curve.plot(range(1, len(shares) + 1), shares, color=COLORS["lora"])
    curve.plot(rank, shares[rank - 1], "o", color=COLORS["wrong"], markersize=8)
    curve.axvline(break_even, color=COLORS["floor"], linestyle=":")
    curve.set(xlabel="rank (dots: break-even)", ylabel="energy kept (%)", ylim=(0, 104))
    curve.set_title(f"energy kept: {shares[rank - 1]:.1f}%")
    return fig


def spectrum_picture(curves: Mapping, names: Sequence[str], update: Sequence, copy: Sequence):
    """Lesson 02: energy against components for some matrices, and for all what 90% of it takes.

    Args:
        curves: {"name": share of energy of the first 1, 2, ... components, in per cent}.
        names: of all matrices, and for each the per cent of its components that hold 90% of the
        update's energy, and of the shuffled copy's.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2), width_ratios=(1.1, 1))
    colors = {"update": "full", "shuffled copy": "wrong", "noise": "base"}
    styles = {"update": "-", "shuffled copy": "--", "noise": ":"}
    settings = {"xlabel": "components kept", "ylabel": "energy (%)", "ylim": (0, 104)}
    draw_lines(left, curves, colors=colors, styles=styles, labels=False, **settings)
    for name, place in {"update": (0.27, 0.93), "shuffled copy": (0.44, 0.55)}.items():
        text = name if name == "update" else "shuffled copy (dashed)\nand noise (dotted)"
        left.text(*place, text, color=COLORS[colors[name]], transform=left.transAxes)
    heights = range(len(names))
    right.plot(update, heights, "o", color=COLORS["full"], label="update")
    right.plot(copy, heights, "x", color=COLORS["wrong"], label="shuffled copy")
    right.set(xlabel="components for 90% of the energy (%)", xlim=(0, 100), ylabel="matrix")
    right.set_yticks([])
    right.invert_yaxis()
    right.legend(loc="upper right", bbox_to_anchor=(1, 1.14), ncols=2)
    return fig
