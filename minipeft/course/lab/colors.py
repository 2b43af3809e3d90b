"""One colour for each method, the same in every figure of the course.

The hues are Okabe and Ito's, chosen to be told apart with colour-blind eyes; relatives share a
hue and differ in lightness. Label lines directly as well: colour is never the only cue.
Source: M. Okabe and K. Ito, "Color Universal Design" (2008).
"""

from ...core.errors import nearest

_COLORS = {
    # the base, full fine-tuning, and what nothing can beat
    "base": "#666666",
    "full": "#000000",
    "floor": "#9A9A9A",
    "training": "#0072B2",
    # reparameterized: blues
    "lora": "#0072B2",
    "dora": "#56B4E9",
    "adalora": "#003B5C",
    "vera": "#8FA8FF",
    "rslora": "#3A53C5",
    "lora+": "#4F7CA8",
    "pissa": "#00A5C8",
    # additive: greens
    "adapter": "#009E73",
    "houlsby": "#009E73",
    "pfeiffer": "#00634A",
    "parallel": "#7CCBA2",
    "ia3": "#8A9A00",
    # soft prompts: oranges
    "prompt": "#E69F00",
    "prefix": "#A86200",
    "p-tuning": "#F5C710",
    # selective: reds and pinks
    "bitfit": "#CC79A7",
    "diff": "#D55E00",
    "partial": "#8C2D4F",
    # quantization: purples
    "int8": "#B9A5D6",
    "nf4": "#4A2570",
    "fp4": "#8E5BB5",
    "qlora": "#4A2570",
    # parts of a picture
    "first": "#0072B2",
    "second": "#E69F00",
    "third": "#009E73",
    "muted": "#C8C8C8",
    "wrong": "#D55E00",
}


class Palette(dict):
    """A dictionary whose KeyError names the nearest colours."""

    def __missing__(self, name):
        raise KeyError(f"no colour for {name!r}: {nearest(str(name), list(self))}")


COLORS = Palette(_COLORS)
