"""Where in a decoder block each method of the course touches, and what it trains there.

    found = touched("(IA)³", "llama-7b")
    found.places                    # {"k": 4096, "v": 4096, "down": 11008}, in one block

Nothing is looked up: the adapter is built on `meta` and its numbers are counted by module.
"""

from dataclasses import dataclass
from functools import cache

from minipeft.budget.count import count_parameters
from minipeft.core.config import PeftConfig
from minipeft.core.errors import nearest
from minipeft.course.base import load_base
from minipeft.course.lessons.baselines import untied
from minipeft.methods.adalora import AdaLoraConfig
from minipeft.methods.bitfit import BitFitConfig
from minipeft.methods.bottleneck import BottleneckConfig
from minipeft.methods.diff_pruning import DiffPruningConfig
from minipeft.methods.ia3 import IA3Config
from minipeft.methods.lora import LoraConfig
from minipeft.methods.p_tuning import PromptEncoderConfig
from minipeft.methods.partial import PartialConfig
from minipeft.methods.prefix_tuning import PrefixTuningConfig
from minipeft.methods.prompt_tuning import PromptTuningConfig
from minipeft.methods.vera import VeraConfig

MODELS = ("the course's base", "llama-7b", "llama-3-8b")
PLACES = {  # the last part of a module's name: the place in the picture
    "embed_tokens": "embeddings",
    "input_layernorm": "norm 1",
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "o_proj": "o",
    "post_attention_layernorm": "norm 2",
    "mlp": "mlp",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
    "norm": "last norm",
    "lm_head": "head",
}
OUTSIDE = ("embeddings", "prompt", "last norm", "head")  # once in a model, not once in a block


@dataclass(frozen=True)
class Method:
    """One row of the map.

    config: None is full fine-tuning.
    equation: what the method makes of a layer, or of what it touches.
    color: its key in the course's COLORS.
    """

    config: PeftConfig | None
    equation: str
    color: str


def _lora(**options: object) -> LoraConfig:
    return LoraConfig(r=8, target_modules="all-linear", **options)


METHODS = {
    "full fine-tuning": Method(None, "h = (W0 + ΔW) x", "full"),
    "last block": Method(PartialConfig(last_layers=1), "h = (W0 + ΔW) x, in one block", "partial"),
    "head": Method(PartialConfig(modules_to_save=["lm_head"]), "logits = (W0 + ΔW) x", "partial"),
    "norms": Method(PartialConfig(norms=True), "h = W0 (g ⊙ x / rms(x))", "partial"),
    "BitFit": Method(BitFitConfig(target_modules="all-linear"), "h = W0 x + b", "bitfit"),
    "diff pruning": Method(
        DiffPruningConfig(target_modules="all-linear"), "h = W0 x + (z ⊙ w) x", "diff"
    ),
    "(IA)³": Method(IA3Config(), "k, v: h = l ⊙ (W0 x);  down: h = W0 (l ⊙ x)", "ia3"),
    "LoRA, rsLoRA, LoRA+, PiSSA": Method(_lora(), "h = W0 x + s B A x", "lora"),
    "DoRA": Method(_lora(use_dora=True), "h = m ⊙ (W0 + s B A) x / ||W0 + s B A||", "dora"),
    "AdaLoRA": Method(
        AdaLoraConfig(init_r=8, target_r=8, total_step=1, target_modules="all-linear"),
        "h = W0 x + s B E A x",
        "adalora",
    ),
    "VeRA": Method(
        VeraConfig(r=64, target_modules="all-linear"), "h = W0 x + λb ⊙ B (λd ⊙ A x)", "vera"
    ),
    "adapters, Houlsby": Method(
        BottleneckConfig(style="houlsby", bottleneck_size=16), "h = y + up(f(down(y)))", "houlsby"
    ),
    "adapters, Pfeiffer": Method(
        BottleneckConfig(style="pfeiffer", bottleneck_size=16), "h = y + up(f(down(y)))", "pfeiffer"
    ),
    "adapters, parallel": Method(
        BottleneckConfig(style="parallel", bottleneck_size=16),
        "h = MLP(x) + up(f(down(x)))",
        "parallel",
    ),
    "prompt tuning": Method(
        PromptTuningConfig(num_virtual_tokens=20), "vectors before the text", "prompt"
    ),
    "P-tuning": Method(
        PromptEncoderConfig(num_virtual_tokens=20), "vectors before the text, by an MLP", "p-tuning"
    ),
    "prefix tuning": Method(
        PrefixTuningConfig(num_virtual_tokens=20), "keys and values before the text's", "prefix"
    ),
}


@dataclass(frozen=True)
class Touched:
    """places: {place: numbers trained there in one block, or in all for a place OUTSIDE}.

    blocks: in how many of the model's blocks. total: numbers trained in the whole model.
    """

    places: dict[str, int]
    blocks: int
    total: int


@cache
def touched(method: str, model: str) -> Touched:
    """Where a method of METHODS touches a model of MODELS. Raises ValueError for other names."""
    for name, known in ((method, METHODS), (model, MODELS)):
        if name not in known:
            raise ValueError(f"{name!r} is not known; {nearest(name, known)}")
    config = METHODS[method].config
    base = load_base()[0] if model == MODELS[0] else model
    if method == "head" and model == MODELS[0]:
        base = untied(base)
    count = count_parameters(base) if config is None else count_parameters(base, config)
    places: dict[str, int] = {}
    blocks: set[str] = set()
    for path, numbers in count.by_module.items():
        parts = path.removesuffix(".weight").split(".")
        if "layers" in parts:
            blocks.add(parts[parts.index("layers") + 1])
        for place in _places(method, parts[-1]):
            places[place] = places.get(place, 0) + numbers // len(_places(method, parts[-1]))
    depth = len(blocks) or _depth(model)
    inside = {place: n if place in OUTSIDE else n // depth for place, n in places.items()}
    within = any(place not in OUTSIDE for place in inside)
    return Touched(inside, depth if within else 0, count.trainable)


def _places(method: str, module: str) -> tuple[str, ...]:
    if module == "prompt_encoder":
        return ("k", "v") if method == "prefix tuning" else ("prompt",)
    return (PLACES[module],)


def _depth(model: str) -> int:
    """The number of blocks of a model, from what its norms are."""
    return touched("norms", model).blocks
