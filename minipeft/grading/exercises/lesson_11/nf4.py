"""NF4 in a few lines of numpy: what the notebook gives as `dequantize` and `four_bits`."""

import numpy as np

LEVELS = np.array(
    [
        -1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
        0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
    ]
)  # fmt: skip
MIDDLES = (LEVELS[1:] + LEVELS[:-1]) / 2
BLOCK = 8


def dequantize(codes: np.ndarray, absmax: np.ndarray) -> np.ndarray:
    """codes (out, in) and absmax (out, in / block) -> the weight (out, in)."""
    return LEVELS[codes] * np.repeat(absmax, codes.shape[1] // absmax.shape[1], axis=1)


def in_blocks(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(blocks, 8), divided by their largest absolute values, and those: (blocks, 1)."""
    blocks = weight.reshape(-1, BLOCK)
    absmax = np.abs(blocks).max(axis=1, keepdims=True)
    return blocks / absmax, absmax


def four_bits(weight: np.ndarray) -> np.ndarray:
    """The weight (out, in) after NF4 and back."""
    scaled, absmax = in_blocks(weight)
    return (LEVELS[np.searchsorted(MIDDLES, scaled)] * absmax).reshape(weight.shape)
