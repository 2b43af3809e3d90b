"""Rotary positions: each pair of a head's channels turns with the token's place in the text.

    (x_i, x_j) -> (x_i cos a - x_j sin a, x_j cos a + x_i sin a),   j = i + head_dim / 2,
    a = position * theta^(-2 i / head_dim)

so that q . k depends on the distance of the two tokens alone.

Source: Su et al. 2021, "RoFormer" (section 3.2); Llama 3's stretching: Grattafiori et al. 2024.
"""

import math

import torch
from torch import Tensor

from minipeft.models.config import LlamaConfig


def rotary_frequencies(config: LlamaConfig, device=None) -> Tensor:
    """Radians per position for each pair of a head's channels, (head_dim / 2,)."""
    exponent = torch.arange(0, config.head_dim, 2, device=device).float() / config.head_dim
    frequency = 1.0 / config.rope_theta**exponent
    scaling = config.rope_scaling
    if scaling is None:
        return frequency
    # Llama 3: waves longer than the original context are slowed by `factor`, short ones are kept,
    # and those between are blended by how often they turn within the original context.
    turns = scaling.original_max_position_embeddings * frequency / (2 * math.pi)
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = blend.clamp(0, 1)
    return blend * frequency + (1 - blend) * frequency / scaling.factor


def rotary_table(config: LlamaConfig, position_ids: Tensor, dtype: torch.dtype):
    """cos and sin of every position's angles, each (batch or 1, 1, length, head_dim).

    position_ids: (batch or 1, length). The angles are computed in float32, as everywhere.
    """
    frequency = rotary_frequencies(config, position_ids.device)
    angle = position_ids[:, None, :, None].float() * frequency  # (batch, 1, length, head_dim/2)
    angle = torch.cat((angle, angle), dim=-1)  # channel i turns together with i + head_dim/2
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x, cos, sin):  # (batch, heads, length, head_dim)
    """Turn each channel pair (i, i + head_dim/2) by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
