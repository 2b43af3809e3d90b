"""The shape of a Llama-style decoder, read from a Hugging Face `config.json`.

Three families share one architecture: Llama (1 to 3), Mistral without its sliding window, and
Qwen 2, which adds biases to the query, key and value projections. Anything that would change the
numbers and is not built here is refused, never ignored.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from minipeft.core.disk import read_json
from minipeft.core.errors import nearest

FAMILIES = ("llama", "mistral", "qwen2")
DEFAULT_ROPE_THETA = 10_000.0


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3's stretching of the rotary frequencies (`rope_type="llama3"`)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes and switches of one decoder; the field names are transformers'.

    Raises:
        ValueError: a size is not a positive whole number, or two sizes do not fit together.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = DEFAULT_ROPE_THETA
    rope_scaling: RopeScaling | None = None
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    model_type: str = "llama"
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None

    def __post_init__(self):
        if self.num_key_value_heads is None:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        check_sizes(self, SIZES)
        if self.head_dim is None:
            if self.hidden_size % self.num_attention_heads:
                raise ValueError(
                    f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads "
                    f"{self.num_attention_heads}: give head_dim as well"
                )
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)
        if isinstance(self.head_dim, bool) or not isinstance(self.head_dim, int):
            raise ValueError(f"head_dim must be a whole number, but it is {self.head_dim!r}")
        if self.head_dim < 2 or self.head_dim % 2:
            raise ValueError(
                f"head_dim must be even for rotary positions, but it is {self.head_dim}"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )

    @property
    def output_bias(self) -> bool:
        """Whether `o_proj` has a bias: with Llama's attention_bias yes, in Qwen 2 never."""
        return self.attention_bias and self.model_type != "qwen2"

    @classmethod
    def from_config(cls, config: "dict | str | Path") -> "LlamaConfig":
        """Read a Hugging Face config: a dict, a `config.json`, or the folder that holds one.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not JSON, or describes a model that is not built here.
        """
        raw = read_json(config)
        _refuse_what_is_not_built(raw)
        known = {f.name for f in fields(cls)} - {"rope_scaling", "rope_theta"}
        values = {name: raw[name] for name in known if raw.get(name) is not None}
        missing = [name for name in SIZES if name not in values and name not in OPTIONAL]
        if missing:
            raise ValueError(f"the model's config lacks {', '.join(missing)}")
        if raw["model_type"] == "qwen2":
            values["attention_bias"] = True  # Qwen 2 always has them and never says so
        if isinstance(values.get("eos_token_id"), list):
            values["eos_token_id"] = tuple(values["eos_token_id"])
        theta, scaling = _rope(raw)
        return cls(**values, rope_theta=theta, rope_scaling=scaling)

    def to_dict(self) -> dict:
        """The same in Hugging Face's vocabulary; transformers builds an equal model from it."""
        result = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.rope_scaling is not None:
            result["rope_scaling"] = {"rope_type": "llama3", **vars(self.rope_scaling)}
        if isinstance(self.eos_token_id, tuple):
            result["eos_token_id"] = list(self.eos_token_id)
        return {**result, "hidden_act": "silu", "sliding_window": None}


SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)
OPTIONAL = ("num_key_value_heads", "max_position_embeddings")


def check_sizes(config: object, names: tuple[str, ...]) -> None:
    """Raise ValueError unless each of these fields is a whole number from 1 on."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number above 0, but it is {value!r}")


def _refuse_what_is_not_built(raw: dict) -> None:
    """Each field that would change the numbers, with the only value that is built here."""
    family = raw.get("model_type")
    if family not in FAMILIES:
        raise ValueError(
            f"model_type {family!r} is not built here, only {', '.join(FAMILIES)}; "
            f"{nearest(str(family), FAMILIES)}"
        )
    if raw.get("hidden_act", "silu") not in ("silu", "swish"):
        raise ValueError(f"hidden_act {raw['hidden_act']!r} is not built here, only 'silu'")
    windowed = raw.get("use_sliding_window") if family == "qwen2" else raw.get("sliding_window")
    if windowed:
        raise ValueError(
            f"sliding-window attention (sliding_window {raw.get('sliding_window')!r}) is not "
            "built here; full attention has sliding_window null"
        )
    others = {kind for kind in raw.get("layer_types") or [] if kind != "full_attention"}
    if others:
        raise ValueError(f"layer_types {sorted(others)} are not built here, only 'full_attention'")
    if raw.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(
            f"partial_rotary_factor {raw['partial_rotary_factor']!r} is not built here, only 1.0"
        )
    if raw.get("quantization_config"):
        raise ValueError("the checkpoint is quantized (quantization_config); load the original")


def _rope(raw: dict) -> tuple[float, RopeScaling | None]:
    """Base frequency and scaling, from `rope_parameters` (transformers 5) or `rope_scaling`."""
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ValueError(f"rope_parameters should be an object, but it is {rope!r}")
    theta = rope.get("rope_theta") or raw.get("rope_theta") or DEFAULT_ROPE_THETA
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise ValueError(f"rope scaling {kind!r} is not built here, only 'llama3' and 'default'")
    names = [f.name for f in fields(RopeScaling)]
    missing = [name for name in names if rope.get(name) is None]
    if missing:
        raise ValueError(f"rope scaling 'llama3' lacks {', '.join(missing)}")
    return theta, RopeScaling(**{name: rope[name] for name in names})
