"""The palette is looked at through colour-blind eyes.

Matrices for complete deuteranopia and protanopia: G. M. Machado et al., "A Physiologically-based
Model for Simulation of Color Vision Deficiency" (2009), in linear RGB.
"""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from minipeft.course import COLORS

EYES = {
    "full": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}
# Drawn in one picture when all methods are compared.
TOGETHER = ["base", "full", "lora", "dora", "adapter", "prompt", "bitfit", "diff", "nf4"]


def lab(rgb_linear):
    """CIE L*a*b* of a colour in linear sRGB, white D65."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = np.cbrt(np.clip(to_xyz @ rgb_linear, 1e-4, None) / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def seen(name, eyes):
    rgb = np.array(to_rgb(COLORS[name]))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return lab(np.clip(EYES[eyes] @ linear, 0, 1))


@pytest.mark.parametrize("eyes", EYES)
def test_methods_in_one_picture_can_be_told_apart(eyes):
    distances = {
        pair: np.linalg.norm(seen(pair[0], eyes) - seen(pair[1], eyes))
        for pair in itertools.combinations(TOGETHER, 2)
    }
    closest = min(distances, key=distances.get)
    # A difference of 2.3 is just noticeable; lines in a picture need several times that.
    assert distances[closest] > 15, (closest, distances[closest])


def test_every_method_of_the_course_has_a_colour():
    methods = "base full floor lora dora adalora vera rslora adapter ia3 prompt prefix bitfit diff"
    assert set(methods.split()) | {"nf4", "qlora", "int8"} <= set(COLORS)
