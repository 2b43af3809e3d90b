"""Prefix tuning: Attention(q, [P_k; k], [P_v; v]) in every layer, with learned P_k and P_v.

Li & Liang 2021, "Prefix-Tuning", sections 4.2 and 4.3: P = MLP(Z), prefix_projection=True.
Liu et al. 2022, "P-Tuning v2", section 3.2: P itself, prefix_projection=False.
Trained: P, n rows of L 2 d numbers (L layers, d = key/value heads times head_dim), or Z (n, d) and
the MLP; a file holds P either way. The model reads it as a key/value cache that is full already.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from minipeft.core.errors import check_choice, check_whole
from minipeft.methods.prompt_config import PromptLearningConfig
from minipeft.methods.prompted_models import check_keeps_its_cache, key_value_sizes
from minipeft.methods.soft_prompt import SoftPrompt
from minipeft.models.cache import empty_cache


@dataclass
class PrefixTuningConfig(PromptLearningConfig):
    """Options of prefix tuning, under peft's names; the sizes are in PromptLearningConfig.

    prefix_projection: True trains an MLP that makes P, False (P-tuning v2) trains P.
    encoder_hidden_size: the width inside the MLP; that of the keys if None.
    init_weights: None (at random) or "zero" (P = 0).

    Raises ValueError for a value out of range.
    """

    prefix_projection: bool = False
    encoder_hidden_size: int | None = None
    init_weights: str | None = None

    peft_type: ClassVar[str] = "PREFIX_TUNING"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("prefix_projection", self.prefix_projection, [True, False])
        check_choice("init_weights", self.init_weights, [None, "zero"])
        if self.encoder_hidden_size is not None:
            check_whole("encoder_hidden_size", self.encoder_hidden_size, 1)

    def sizes(self, shape: Any) -> dict[str, int]:
        """The sizes of the keys and values: grouped-query attention has fewer heads for them."""
        sizes = super().sizes(shape)
        heads = getattr(shape, "num_key_value_heads", None) or sizes["num_attention_heads"]
        head_dim = getattr(shape, "head_dim", None)
        head_dim = head_dim or sizes["token_dim"] // sizes["num_attention_heads"]
        return sizes | {"token_dim": heads * head_dim, "num_attention_heads": heads}

    def model_sizes(self, model: nn.Module) -> dict[str, int]:
        """The sizes of the keys and values with which the model fills a cache; families differ."""
        sizes, kept = self.sizes(model.config), key_value_sizes(model)
        if kept is None:
            return sizes
        first = kept[0] if kept else ()
        if len(kept) != sizes["num_layers"] or set(kept) != {first} or first[:2] != first[2:]:
            raise ValueError(
                f"PREFIX_TUNING on {type(model).__name__}: its {sizes['num_layers']} layers keep "
                f"(heads, width) of keys and of values as {sorted(set(kept))}, and a prefix needs "
                "them all alike; choose PROMPT_TUNING or LORA"
            )
        heads, head_dim = first[:2]
        return sizes | {"token_dim": heads * head_dim, "num_attention_heads": heads}

    def with_model_defaults(self, model: nn.Module) -> Self:
        config = super().with_model_defaults(model)
        return replace(config, encoder_hidden_size=self.encoder_hidden_size or config.token_dim)

    @property
    def encodes(self) -> bool:
        return self.prefix_projection

    def prompt(self, model: nn.Module) -> "Prefix":
        return Prefix(model, self)


class Prefix(SoftPrompt):
    """P (n, L 2 d): row i holds token i's key and value of layer 0, then of layer 1, and so on."""

    takes = "past_key_values"
    why_apart = "its keys and values are read beside those of the text and are in no weight"

    def __init__(self, model: nn.Module, config: PrefixTuningConfig) -> None:
        width = 2 * config.num_layers * config.token_dim
        encoded = config.prefix_projection and not config.inference_mode
        rows = config.num_virtual_tokens
        super().__init__(model, rows, config.token_dim if encoded else width)
        heads = config.num_attention_heads
        self.shape = (config.num_layers, 2, heads, config.token_dim // heads)  # of a row
        self.transform: nn.Module | None = None
        if encoded:
            inner = nn.Linear(config.token_dim, config.encoder_hidden_size)
            outer = nn.Linear(config.encoder_hidden_size, width)
            self.transform = nn.Sequential(inner, nn.Tanh(), outer)
        if config.init_weights == "zero":
            for parameter in (outer if encoded else self.embedding).parameters():
                nn.init.zeros_(parameter)

    def forward(self) -> Tensor:
        z = self.embedding.weight
        return z if self.transform is None else self.transform(z)  # (n, L 2 d)

    def begin(self, reader: nn.Module, inputs: dict) -> None:
        text = inputs.get("input_ids")
        batch = len(inputs["inputs_embeds"] if text is None else text)
        check_keeps_its_cache(reader)
        fresh = empty_cache(reader)
        if inputs.get("past_key_values") is None:
            inputs["past_key_values"] = fresh
        learned = self().to(reader.get_input_embeddings().weight.dtype)
        learned = learned.unflatten(1, self.shape).permute(1, 2, 3, 0, 4)  # (L, 2, heads, n, ...)
        for layer, (keys, values) in enumerate(learned):
            keys, values = (one.expand(batch, -1, -1, -1) for one in (keys, values))
            inputs["past_key_values"].update(keys, values, layer)  # (batch, heads, n, head_dim)
