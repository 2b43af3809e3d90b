"""Decoders: Llama, Mistral, Qwen 2 and GPT-2, as transformers builds them."""

from typing import ClassVar

from minipeft.shapes.family import REQUIRED, Family, divided
from minipeft.shapes.layer_stack import LayerStack
from minipeft.shapes.meta_model import Parts, RMSNorm, embedding, layer_norm, linear, tied

HEADS = ("CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS", "FEATURE_EXTRACTION")


class Llama(Family):
    """Rotary positions, RMS norms, grouped keys and values, a gated MLP."""

    sizes: ClassVar[dict[str, object]] = {
        "vocab_size": REQUIRED,
        "hidden_size": REQUIRED,
        "intermediate_size": REQUIRED,
        "num_hidden_layers": REQUIRED,
        "num_attention_heads": REQUIRED,
        "num_key_value_heads": None,
        "head_dim": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    }
    tasks = HEADS

    def complete(self) -> None:
        super().complete()
        self.num_key_value_heads = self.num_key_value_heads or self.num_attention_heads
        divided("num_attention_heads", self.num_attention_heads, self.num_key_value_heads)

    def biased(self) -> set[str]:
        """The matrices that have a bias."""
        attention = {"q_proj", "k_proj", "v_proj", "o_proj"} if self.attention_bias else set()
        return attention | ({"gate_proj", "up_proj", "down_proj"} if self.mlp_bias else set())

    def stacks(self) -> list[LayerStack]:
        attention = {role: f"self_attn.{role}" for role in ("q_proj", "k_proj", "v_proj", "o_proj")}
        mlp = {role: f"mlp.{role}" for role in ("gate_proj", "up_proj", "down_proj")}
        return [
            LayerStack(
                path="layers",
                last_norm="norm",
                activation="silu",
                layers=self.num_hidden_layers,
                hidden=self.hidden_size,
                heads=self.num_attention_heads,
                kv_heads=self.num_key_value_heads,
                head_dim=self.head_dim,
                inner=self.intermediate_size,
                names=attention | mlp,
                norms=("input_layernorm", "post_attention_layernorm"),
                biased=frozenset(self.biased()),
                rms=True,
                causal=True,
                rotary=True,
            )
        ]

    def around(self) -> Parts:
        yield "embed_tokens", embedding(self.vocab_size, self.hidden_size)
        yield "norm", RMSNorm(self.hidden_size)

    def top(self, words) -> Parts:
        if self.task == "CAUSAL_LM":
            head = linear(self.vocab_size, self.hidden_size, bias=False)
            yield "lm_head", tied(head, words) if self.tie_word_embeddings else head
        elif self.task in ("SEQ_CLS", "TOKEN_CLS"):
            yield "score", linear(self.num_labels, self.hidden_size, bias=self.task == "TOKEN_CLS")

    def output(self) -> str | None:
        return "lm_head" if self.task == "CAUSAL_LM" else None


class Mistral(Llama):
    """Llama's shape, without biases."""

    sizes: ClassVar[dict[str, object]] = {
        name: default for name, default in Llama.sizes.items() if not name.endswith("_bias")
    } | {"num_key_value_heads": 8}

    def biased(self) -> set[str]:
        return set()


class Qwen2(Mistral):
    """Llama's shape, with biases on queries, keys and values."""

    sizes: ClassVar[dict[str, object]] = Mistral.sizes | {"num_key_value_heads": 32}

    def biased(self) -> set[str]:
        return {"q_proj", "k_proj", "v_proj"}


class GPT2(Family):
    """Learned positions, layer norms, one fused matrix for queries, keys and values."""

    sizes: ClassVar[dict[str, object]] = {
        "vocab_size": REQUIRED,
        "hidden_size": REQUIRED,
        "num_hidden_layers": REQUIRED,
        "num_attention_heads": REQUIRED,
        "intermediate_size": None,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
    }
    own_names: ClassVar[dict[str, str]] = {
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "max_position_embeddings": "n_positions",
    }
    base = "transformer."
    tasks = HEADS
    words = "wte"

    def complete(self) -> None:
        super().complete()
        self.intermediate_size = self.intermediate_size or 4 * self.hidden_size

    def stacks(self) -> list[LayerStack]:
        fused = dict.fromkeys(("q_proj", "k_proj", "v_proj"), "attn.c_attn")
        others = {"o_proj": "attn.c_proj", "up_proj": "mlp.c_fc", "down_proj": "mlp.c_proj"}
        return [
            LayerStack(
                path="h",
                last_norm="ln_f",
                layers=self.num_hidden_layers,
                hidden=self.hidden_size,
                heads=self.num_attention_heads,
                kv_heads=self.num_attention_heads,
                head_dim=self.head_dim,
                inner=self.intermediate_size,
                names=fused | others,
                norms=("ln_1", "ln_2"),
                biased=frozenset(fused | others),
                causal=True,
                conv1d=True,
                dropout=0.1,
            )
        ]

    def around(self) -> Parts:
        yield "wte", embedding(self.vocab_size, self.hidden_size)
        yield "wpe", embedding(self.max_position_embeddings, self.hidden_size)
        yield "ln_f", layer_norm(self.hidden_size)

    def top(self, words) -> Parts:
        if self.task == "CAUSAL_LM":
            yield from Llama.top(self, words)
        elif self.task == "SEQ_CLS":
            yield "score", linear(self.num_labels, self.hidden_size, bias=False)
        elif self.task == "TOKEN_CLS":
            yield "classifier", linear(self.num_labels, self.hidden_size)

    def output(self) -> str | None:
        return Llama.output(self)
