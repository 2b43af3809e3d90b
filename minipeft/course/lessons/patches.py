"""How an image becomes tokens, counted: patches, attention entries, multiplications.

    Grid(224, 16).patches                    # (224 / 16)^2 = 196
    multiplications(ARCHITECTURES["vit-b/16"].config, Grid(224, 16))

Dosovitskiy et al. 2021, "An image is worth 16x16 words", section 3.1.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from minipeft.core.errors import check_whole
from minipeft.models.vit import ViT, ViTConfig


@dataclass(frozen=True)
class Grid:
    """An image of `image` x `image` pixels in squares of `patch` x `patch`.

    Attributes:
        per_side: whole squares along a side; what does not fill one is `lost`, in pixels.
        patches: per_side^2.
        tokens: the patches and one class token.
        entries: tokens^2, the scores of one attention head.

    Raises:
        ValueError: a size is no positive whole number, or the patch is larger than the image.
    """

    image: int
    patch: int

    def __post_init__(self) -> None:
        check_whole("image", self.image, 1)
        check_whole("patch", self.patch, 1)
        if self.patch > self.image:
            raise ValueError(f"patch={self.patch} is larger than the image, {self.image} pixels")

    @property
    def per_side(self) -> int:
        return self.image // self.patch

    @property
    def lost(self) -> int:
        return self.image % self.patch

    @property
    def patches(self) -> int:
        return self.per_side**2

    @property
    def tokens(self) -> int:
        return self.patches + 1

    @property
    def entries(self) -> int:
        return self.tokens**2


def multiplications(config: ViTConfig, grid: Grid) -> dict[str, int]:
    """Multiplications of one image's forward pass, by where they happen.

    "matrices": every linear layer, N (4 d^2 + 2 d f) in each block, the patches' and the head's;
    "attention": q k^T and the sum over the values, 2 N^2 d in each block, for N tokens.
    """
    d, f, N = config.hidden_size, config.intermediate_size, grid.tokens
    blocks = config.num_hidden_layers
    embedded = grid.patches * config.num_channels * grid.patch**2 * d
    matrices = blocks * N * (4 * d * d + 2 * d * f) + embedded + d * config.num_labels
    return {"matrices": matrices, "attention": blocks * 2 * N * N * d}


def counted_by_torch(config: ViTConfig) -> int:
    """The same sum, counted by PyTorch as the model runs on `meta`: half of its FLOPs."""
    with torch.device("meta"):
        model = ViT(config)
        image = torch.empty(1, config.num_channels, config.image_size, config.image_size)
    counter = FlopCounterMode(display=False)
    with counter, nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        model(image)
    return counter.get_total_flops() // 2
