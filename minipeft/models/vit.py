"""A Vision Transformer, from scratch: an image is cut into squares, and each square is a token.

    x = [class token; W patch + b per patch] + position
    x = x + Attention(LayerNorm(x))      per layer; every token sees every other one
    x = x + MLP(LayerNorm(x))            MLP(x) = W2 gelu(W1 x + b1) + b2
    logits = classifier(LayerNorm(x) at the class token)

Module names are those of transformers 4 (`vit.encoder.layer.0.attention.attention.query`), so a
checkpoint, an adapter and a list of target modules mean the same here and there.

Source: Dosovitskiy et al. 2021, "An image is worth 16x16 words" (section 3.1).
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from minipeft.core.modules import WithoutInitialization
from minipeft.models.checkpoint import (
    check_names_and_shapes,
    stored_tensors,
)
from minipeft.models.vit_config import ViTConfig
from minipeft.models.vit_names import our_names

__all__ = ["ViT", "ViTConfig", "ViTModel", "load_pretrained"]


class Dense(nn.Module):
    """One linear layer, under the name that adapters and checkpoints have for it."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)

    def forward(self, x):  # (..., inputs)
        return self.dense(x)


class PatchEmbeddings(nn.Module):
    """Each square through the same linear map: a convolution whose steps are its own width."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        width = config.patch_size
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, width, stride=width)

    def forward(self, pixel_values):  # (batch, channels, height, width)
        return self.projection(pixel_values).flatten(2).transpose(1, 2)  # (batch, patches, hidden)


class Embeddings(nn.Module):
    """The class token and the patches, each with what is learned about its place."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.position_embeddings = nn.Parameter(
            torch.zeros(1, config.patches + 1, config.hidden_size)
        )
        self.patch_embeddings = PatchEmbeddings(config)

    def forward(self, pixel_values):  # (batch, channels, height, width)
        patches = self.patch_embeddings(pixel_values)
        first = self.cls_token.expand(len(patches), -1, -1)
        return torch.cat((first, patches), dim=1) + self.position_embeddings


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(head_dim)) v, each head for itself."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        hidden = config.hidden_size
        self.heads = config.num_attention_heads
        self.query = nn.Linear(hidden, hidden, bias=config.qkv_bias)
        self.key = nn.Linear(hidden, hidden, bias=config.qkv_bias)
        self.value = nn.Linear(hidden, hidden, bias=config.qkv_bias)

    def forward(self, x):  # (batch, length, hidden)
        q, k, v = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.query(x), self.key(x), self.value(x))
        )  # (batch, heads, length, head_dim)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """The heads, and the layer that mixes what they found."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.attention = SelfAttention(config)
        self.output = Dense(config.hidden_size, config.hidden_size)

    def forward(self, x):  # (batch, length, hidden)
        return self.output(self.attention(x))


class Layer(nn.Module):
    """Attention, then the MLP; each reads a normalised copy and adds to the residual stream."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Dense(config.hidden_size, config.intermediate_size)
        self.output = Dense(config.intermediate_size, config.hidden_size)
        self.layernorm_before = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x):  # (batch, length, hidden)
        x = x + self.attention(self.layernorm_before(x))
        return x + self.output(F.gelu(self.intermediate(self.layernorm_after(x))))


class Encoder(nn.Module):
    """The layers, one after the other."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x):  # (batch, length, hidden)
        for layer in self.layer:
            x = layer(x)
        return x


class ViTModel(nn.Module):
    """Images to hidden states: (batch, channels, height, width) -> (batch, 1 + patches, hidden).

    Raises:
        ValueError: `pixel_values` is no batch of images of the config's size.
    """

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.apply(self.initialize)

    def forward(self, pixel_values):
        config = self.config
        image = (config.num_channels, config.image_size, config.image_size)
        if pixel_values.dim() != 4 or pixel_values.shape[1:] != image:
            raise ValueError(
                f"pixel_values should have shape (batch, channels, height, width) with {image} "
                f"behind the batch, but the shape is {tuple(pixel_values.shape)}"
            )
        pixel_values = pixel_values.to(self.embeddings.cls_token.dtype)
        return self.layernorm(self.encoder(self.embeddings(pixel_values)))

    def initialize(self, module):
        """Truncated normal weights and zero biases, as transformers does."""
        weights = [module.weight] if isinstance(module, nn.Linear | nn.Conv2d) else []
        if isinstance(module, Embeddings):
            weights = [module.cls_token, module.position_embeddings]
        elif weights and module.bias is not None:
            nn.init.zeros_(module.bias)
        for weight in weights:
            nn.init.trunc_normal_(weight, std=self.config.initializer_range)


class ViT(nn.Module):
    """The classifier: `model(pixel_values)` -> logits, (batch, num_labels).

    pixel_values: (batch, num_channels, image_size, image_size).

    Raises:
        ValueError: `pixel_values` is no batch of images of the config's size.
    """

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.config = config
        self.vit = ViTModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.vit.initialize(self.classifier)

    def forward(self, pixel_values):
        return self.classifier(self.vit(pixel_values)[:, 0])  # (batch, num_labels)


def load_pretrained(
    folder, num_labels: int | None = None, dtype: torch.dtype = torch.float32
) -> ViT:
    """Load a ViT folder in the Hugging Face format: config.json and safetensors.

    Args:
        folder: of transformers' ViTForImageClassification, or of a bare ViTModel.
        num_labels: None for the file's classifier, else a new one with so many labels.
        dtype: of the weights in memory; those on disk are converted.

    Raises:
        FileNotFoundError: the folder, its config or one of its shards does not exist.
        ValueError: a damaged file, a missing, foreign or wrongly shaped tensor, no classifier
            where the file's is asked for, or an architecture that is not built here.
    """
    config = ViTConfig.from_config(folder)
    if num_labels is not None:
        config = replace(config, num_labels=num_labels)
    with torch.device("meta"), WithoutInitialization():  # shapes without memory
        model = ViT(config)
    stored = stored_tensors(folder)
    tensors = {ours: stored[name].read(dtype) for name, ours in our_names(stored).items()}
    if num_labels is not None:
        fresh = nn.Linear(config.hidden_size, num_labels, dtype=dtype)
        model.vit.initialize(fresh)
        tensors |= {f"classifier.{name}": tensor for name, tensor in fresh.state_dict().items()}
    elif "classifier.weight" not in tensors:
        raise ValueError(f"{folder} holds no classifier: num_labels=... starts a new one")
    check_names_and_shapes({name: t.shape for name, t in model.state_dict().items()}, tensors)
    model.load_state_dict(tensors, assign=True)
    return model.eval()
