"""`figure`: pictures with words. Each has alt text and a digest of its data.

JupyterLab gives an output image no alt attribute; nbconvert's classic pages read one from the
output's metadata. So the text goes there, and stands under the picture as well. The digest
serves screen readers, people who cannot see the difference between two curves, and the tests,
which compare it in place of pixels; for everybody else it is folded away.
"""

import html
import io
import math

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from .colors import COLORS
from .numerals import rounded
from .screen import PROSE, show

__all__ = ["COLORS", "digest", "figure", "label_lines", "plt", "png", "use_style"]

STYLE = {
    "figure.figsize": (6.4, 3.6),
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.prop_cycle": matplotlib.cycler(
        color=[COLORS[name] for name in ("first", "second", "third", "wrong", "bitfit", "full")]
    ),
    "lines.linewidth": 1.8,
    "image.cmap": "viridis",
    "legend.frameon": False,
    "savefig.facecolor": "white",
}
FEWEST_WORDS = 4


def use_style() -> None:
    """Set the course's matplotlib style. Importing this module has done it already."""
    plt.rcParams.update(STYLE)


use_style()


def figure(fig, alt: str, data: dict) -> None:
    """Show a figure with its alt text, close it; below it a caption, and its numbers folded away.

    Args:
        fig: a matplotlib figure.
        alt: one or two sentences that say what the picture shows, for those who don't see it.
            Compute them from the data, so that they are true after a change too.
        data: what is drawn, as {"series name": numbers}; any shape, or one number. Integers are
            written as counts, floats with three significant digits.

    Raises:
        ValueError: no alt text or hardly any, no data, an empty series, or NaN or infinity in
            one of them.
    """
    below = words(alt, data)  # checks both before anything is shown
    show_picture(png(fig), alt)
    show(below)


def show_picture(picture: bytes, alt: str) -> None:
    """Display PNG bytes; pages on the web take the alt text from the output's metadata."""
    alt = alt.strip()
    show({"image/png": picture, "text/plain": alt}, {"image/png": {"alt": alt}})


def words(alt: str, data: dict, where: str = "") -> dict:
    """The caption and the digest of a figure, as a bundle of text/html and text/plain.

    where: at which position of its sliders, if it has any.
    """
    numbers = digest(data)
    plain = "\n".join(filter(None, [caption(alt), where and f"At {where}:", numbers]))
    return {"text/html": words_html(alt, numbers, where), "text/plain": plain}


def words_html(alt: str, numbers: str, where: str = "") -> str:
    """The caption as prose that wraps, and the digest folded: for screen readers and tests."""
    at = f" at {where}" if where else ""
    return (
        f'<p class="minipeft-words" style="{PROSE}">{html.escape(caption(alt))}</p>'
        f"<details><summary>Numbers in this figure{html.escape(at)}</summary>"
        f'<pre style="white-space: pre-wrap">{html.escape(numbers)}</pre></details>'
    )


def caption(alt: str) -> str:
    """The line below a figure that has this alt text."""
    if not isinstance(alt, str) or len(alt.split()) < FEWEST_WORDS:
        raise ValueError(
            f"alt={alt!r} does not describe the figure; say in a sentence what one sees"
        )
    return f"Figure: {alt.strip()}"


def digest(data: dict) -> str:
    """One line for each series: count, first, last, smallest, largest and mean, to 3 digits."""
    if not data:
        raise ValueError('the figure has no data; give data={"name": numbers}')
    width = max(len(str(name)) for name in data)
    return "\n".join(
        f"  {name!s:<{width}}  {_summary(str(name), values)}" for name, values in data.items()
    )


def _summary(name: str, values) -> str:
    numbers = _numbers(name, values)
    if numbers.size == 0:
        raise ValueError(f"the series {name!r} is empty")
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise ValueError(
            f"the series {name!r} holds {numbers[bad[0]]} at position {bad[0]} "
            f"({bad.size} such values in all); a figure must not hide them"
        )
    if numbers.size == 1:
        return rounded(numbers[0])
    parts = {
        "first": numbers[0],
        "last": numbers[-1],
        "min": numbers.min(),
        "max": numbers.max(),
        "mean": numbers.mean(),
    }
    shown = ", ".join(f"{label} {rounded(value)}" for label, value in parts.items())
    return f"n {numbers.size}, {shown}"


def _numbers(name: str, values) -> np.ndarray:
    """A flat array, int64 or float64, from a list, an array, a range or a tensor on any device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.double().numpy() if values.is_floating_point() else values.numpy()
    try:
        numbers = np.asarray(values).ravel()
        return numbers.astype(np.int64 if numbers.dtype.kind in "iub" else np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the series {name!r} is not a list of numbers: {error}") from None


def png(fig) -> bytes:
    """The figure as PNG bytes, without a date or a version in it; closes the figure."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(fig)
    return buffer.getvalue()


def label_lines(ax, gap: float = 0.06) -> None:
    """Write each line's label at its right end, in its colour, in place of a legend.

    Labels at the right of the axis that are closer than `gap` of its height are moved apart. A
    line that ends before has its label there.
    """
    ends = [(line, line.get_xdata(), line.get_ydata()) for line in ax.get_lines()]
    ends = [
        (line, x[-1], y[-1])
        for line, x, y in ends
        if len(x) and not line.get_label().startswith("_")
    ]
    ax.get_xlim(), ax.get_ylim()  # matplotlib sets the limits only when asked
    to_axis = ax.transData + ax.transAxes.inverted()
    below = -math.inf
    across = [line.get_transform() == ax.get_yaxis_transform() for line, _, _ in ends]  # axhline
    places = [
        (*([1.0, to_axis.transform((0.5, y))[1]] if level else to_axis.transform((x, y))), line)
        for (line, x, y), level in zip(ends, across, strict=True)
    ]
    for right, height, line in sorted(places, key=lambda place: place[1]):
        if right > 0.9:
            right, height = 1.0, max(height, below + gap)
            below = height
        elif len(line.get_xdata()) == 1:
            height += gap / 2  # a single point may lie on another line
        ax.annotate(
            line.get_label(),
            (right + 0.015, height),
            xycoords="axes fraction",
            color=line.get_color(),
            va="center",
            annotation_clip=False,
        )
