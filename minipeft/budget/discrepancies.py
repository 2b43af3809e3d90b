"""Published counts that arithmetic doesn't give, and why: what a count's `remarks` say.

A claim holds what was printed and never what is right: that is counted when it is asked for.
"""

from dataclasses import dataclass

from minipeft.core.config import PeftConfig
from minipeft.methods.bitfit import BitFitConfig
from minipeft.methods.bottleneck import BottleneckConfig
from minipeft.methods.ia3 import IA3Config
from minipeft.methods.lora_config import LoraConfig
from minipeft.methods.prefix_tuning import PrefixTuningConfig
from minipeft.methods.prompt_tuning import PromptTuningConfig
from minipeft.methods.vera import VeraConfig

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DORA = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]
QV = ["q_proj", "v_proj"]


@dataclass(frozen=True)
class Discrepancy:
    """What a source prints for a config on a model; config None is the model's own total."""

    model: str
    config: PeftConfig | None
    printed: str
    source: str
    why: str

    def __str__(self) -> str:
        return f"printed as {self.printed} in {self.source}: {self.why}"


@dataclass(frozen=True)
class MemoryDiscrepancy:
    """What a source prints for a model's memory. full: for full fine-tuning, not an adapter."""

    model: str
    full: bool
    quantization: str | None
    text: str


def lora(r: int, targets: list[str] = QV, use_dora: bool = False) -> LoraConfig:
    """LoRA or DoRA on these targets."""
    return LoraConfig(r=r, target_modules=targets, use_dora=use_dora)


def vera(r: int) -> VeraConfig:
    """VeRA on queries and values."""
    return VeraConfig(r=r, target_modules=QV)


def prompt(rows: int, task_type: str | None = None) -> PromptTuningConfig:
    """Prompt tuning."""
    return PromptTuningConfig(num_virtual_tokens=rows, task_type=task_type)


def prefix(rows: int) -> PrefixTuningConfig:
    """Prefix tuning without an MLP."""
    return PrefixTuningConfig(num_virtual_tokens=rows)


HOULSBY = BottleneckConfig(
    style="houlsby", bottleneck_size=64, target_modules=["o_proj", "down_proj"]
)
VERA = "VeRA, table 1"
VERA_WHY = "its rows fit L (d + 128 r), and its own formula is L (d + r)"

DISCREPANCIES = [
    Discrepancy(
        "deberta-v2-xxl",
        lora(8),
        "4.7M",
        "LoRA, tables 2 and 10",
        "that takes r=16, which the released script uses; table 10 says r=8",
    ),
    Discrepancy(
        "gpt2-medium",
        lora(4),
        "0.35M",
        "LoRA, table 3",
        "DyLoRA counts 0.39M, and the released checkpoint has that many numbers, too",
    ),
    Discrepancy("gpt2-medium", None, "354.92M", "LoRA, table 3", "no count of this model gives it"),
    Discrepancy(
        "gpt3-175b", None, "175,255.8M", "LoRA, table 4", "neither tied nor untied words do"
    ),
    Discrepancy(
        "gpt3-175b",
        prefix(8),
        "20.2M",
        "LoRA, table 4, PreLayer with l_p = l_i = 8",
        "its own formula L d (l_p + l_i) gives less; all five of its PreLayer rows are too high",
    ),
    Discrepancy(
        "gpt3-175b",
        BitFitConfig(),
        "14.2M",
        "LoRA, table 4",
        "that is 12 d for each layer; the linear layers have 9 d biases, the norms 2 d",
    ),
    Discrepancy(
        "llama-3-8b",
        lora(8),
        "4,194,304",
        "many a tutorial",
        "that is LLaMA-7B's count; here keys and values have 8 heads, not 32",
    ),
    Discrepancy(
        "llama-3-8b",
        lora(16, DORA, use_dora=True),
        "0.35%",
        "DoRA, table 1",
        "that is LoRA's share at this rank, without the magnitudes; ReFT counts 0.361%",
    ),
    Discrepancy(
        "llama-7b",
        prefix(10),
        "0.11%",
        "DoRA, table 1",
        "that takes 30 tokens; ReFT prints 0.039% for the same scores",
    ),
    Discrepancy("llama-7b", prefix(20), "1M", "a tutorial", "that is 4 tokens"),
    Discrepancy(
        "llama-7b", IA3Config(), "300K", "a tutorial", "keys, values and the MLP have more"
    ),
    Discrepancy("roberta-large", vera(16), "49.5K", VERA, "its own 195 KB are right"),
    Discrepancy("gpt3-175b", vera(16), "2.8M", VERA, VERA_WHY),
    Discrepancy("gpt3-175b", vera(256), "8.7M", VERA, VERA_WHY),
    Discrepancy("t0-3b", prompt(10), "41K", "T-Few, appendix D", "its code has one for each stack"),
    Discrepancy(
        "t0-3b", prompt(100), "409K", "T-Few, appendix D", "its code has one for each stack"
    ),
    Discrepancy(
        "t5-v1.1-small", prompt(20), "10,420", "Lester et al., table 4", "two digits swapped"
    ),
    Discrepancy(
        "bert-large",
        HOULSBY,
        "2.1%",
        "Houlsby et al., table 1",
        "also with the norms that it trains; its 3.6% is a mean over sizes chosen by task",
    ),
    Discrepancy(
        "llama-3.1-8b",
        lora(256, ALL),
        "0.70B",
        "LoRA Without Regret, below figure 4",
        'that takes the output layer as well: add "lm_head" to the targets',
    ),
]

MEMORY_DISCREPANCIES = [
    MemoryDiscrepancy(
        "gpt3-175b",
        full=True,
        quantization=None,
        text="printed as 1.2 TB in LoRA, section 4.2: 6.9 bytes for each number, where 16 bits and "
        "Adam take 12 to 18; the paper doesn't say what it counts",
    ),
    MemoryDiscrepancy(
        "llama-7b",
        full=False,
        quantization="nf4_double",
        text="the base in 4 bits is printed as 5,048 MB in QLoRA, section 2: measured, it seems, "
        "with other things than the weights",
    ),
]
