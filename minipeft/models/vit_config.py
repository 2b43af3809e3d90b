"""The shape of a Vision Transformer, read from a Hugging Face `config.json`."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from minipeft.core.disk import read_json
from minipeft.core.errors import nearest
from minipeft.models.config import check_sizes

SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "image_size",
    "patch_size",
    "num_channels",
    "num_labels",
)
# What would change the numbers and isn't built here, with the one value that is.
ONLY = {"hidden_act": "gelu", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@dataclass(frozen=True)
class ViTConfig:
    """Sizes and switches; names and defaults are transformers', so `ViTConfig()` is ViT-B/16.

    image_size, patch_size: in pixels, of squares.

    Raises:
        ValueError: a size is not a positive whole number, or two sizes do not fit together.
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    image_size: int = 224
    patch_size: int = 16
    num_channels: int = 3
    num_labels: int = 2
    qkv_bias: bool = True
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    model_type: str = "vit"

    def __post_init__(self):
        check_sizes(self, SIZES)
        for whole, part in (
            ("hidden_size", "num_attention_heads"),
            ("image_size", "patch_size"),
        ):
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(
                    f"{whole} {getattr(self, whole)} is not a multiple of {part} "
                    f"{getattr(self, part)}"
                )

    @property
    def patches(self) -> int:
        """How many squares an image is cut into: (image_size / patch_size)^2."""
        return (self.image_size // self.patch_size) ** 2

    @classmethod
    def from_config(cls, config: "dict | str | Path") -> "ViTConfig":
        """Read a Hugging Face config: a dict, a `config.json`, or the folder that holds one.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not JSON, or describes a model that is not built here.
        """
        raw = read_json(config)
        if raw.get("model_type") != "vit":
            kind = raw.get("model_type")
            raise ValueError(f"model_type {kind!r} is not built here; {nearest(kind, ['vit'])}")
        for name, value in ONLY.items():
            if raw.get(name, value) != value:
                raise ValueError(f"{name} {raw[name]!r} is not built here, only {value!r}")
        if raw.get("quantization_config"):
            raise ValueError("the checkpoint is quantized (quantization_config); load the original")
        values = {f.name: raw[f.name] for f in fields(cls) if raw.get(f.name) is not None}
        if "num_labels" not in values and raw.get("id2label"):  # files name the labels instead
            values["num_labels"] = len(raw["id2label"])
        return cls(**values)

    def to_dict(self) -> dict:
        """The same in Hugging Face's vocabulary; transformers builds an equal model from it."""
        return asdict(self) | ONLY
