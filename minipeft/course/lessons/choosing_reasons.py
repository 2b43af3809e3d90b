"""What speaks for and against a method: one function for each question that a chooser is asked.

Each gives reasons with their evidence: a lesson of this course, or a paper's table. What is a
number in them is computed from the model, or read from what was recorded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from minipeft.budget.fits import both
from minipeft.core.config import PeftConfig
from minipeft.course.lessons import latency
from minipeft.course.lessons.benchmark import benchmark, find, z_of
from minipeft.course.lessons.recorded import from_scratch
from minipeft.course.lessons.serving import refused_by_vllm
from minipeft.methods.bottleneck import BottleneckLayer
from minipeft.methods.prefix_tuning import Prefix
from minipeft.methods.prompt_tuning import VirtualTokens

RULES_OUT, AGAINST, FOR, NOTE = "rules it out", "against", "for", "note"
MARKS = {RULES_OUT: "x", AGAINST: "-", FOR: "+", NOTE: "·"}
UNMERGEABLE = {
    "adapters": (BottleneckLayer.why_apart, "lesson 07"),
    "prefix": (Prefix.why_apart, "lesson 09"),
    "prompt": (VirtualTokens.why_apart, "lesson 09"),
}
BASE_ITSELF = ("full", "last blocks")  # they train the base's own numbers and add none
LORA = ("LoRA", "QLoRA", "DoRA")
PEFT = "peft's comparison, lesson 15"


@dataclass(frozen=True)
class Reason:
    """effect: "rules it out", "against", "for" or "note". evidence: a lesson, or a source."""

    effect: str
    text: str
    evidence: str

    def __str__(self) -> str:
        return f"{MARKS[self.effect]} {self.text} [{self.evidence}]"


@dataclass(frozen=True)
class Cost:
    """What a method takes on a model, in bytes; trained: how many numbers.

    needed: the peak of a training step; with at_least, the base's weights alone, which is where
    the calculation stopped, since they were too large already. file: of one task. model: the
    whole base in 16 bits.
    """

    needed: int
    at_least: bool
    trained: int
    file: int
    model: int

    def __str__(self) -> str:
        """What is needed and trained."""
        over = "over " if self.at_least else ""
        return f"{over}{self.needed / 1e9:.2f} GB, {self.trained:,} numbers"


@dataclass(frozen=True)
class Needs:
    """What `choose` was asked for; see there. room: of the card, less `spare`."""

    model: Any
    room: int
    options: dict[str, Any]
    must_merge: bool
    adapters: int
    fast_single: bool
    small_data: bool
    new_tokens: int
    pretraining: bool


@dataclass(frozen=True)
class Case:
    """One method on one model. plain_fits: whether LoRA fits without four bits.

    new_biases: whether BitFit has to give the model biases, since it has none.
    """

    method: str
    config: PeftConfig | None
    cost: Cost
    needs: Needs
    plain_fits: bool
    new_biases: bool


def fit(case: Case) -> Iterator[Reason]:
    """Does it fit?"""
    what = "the weights in 16 bits alone take" if case.cost.at_least else "a step takes"
    if case.cost.needed > case.needs.room:
        text = f"{what} {both(case.cost.needed)}, the card has {both(case.needs.room)}"
        yield Reason(RULES_OUT, f"{text} to give", "memory_budget, lesson 05")
    elif case.method == "QLoRA" and case.plain_fits:
        text = "LoRA fits without four bits, which cost a dequantization of each weight per pass"
        yield Reason(AGAINST, text, "lesson 11")


def merge(case: Case) -> Iterator[Reason]:
    """Must the result be one plain model?"""
    if not case.needs.must_merge:
        return
    if case.method in UNMERGEABLE:
        yield Reason(RULES_OUT, *UNMERGEABLE[case.method])
    elif case.new_biases:
        yield Reason(NOTE, "merged, the model has biases, which its class must load", "lesson 08")
    elif case.method == "QLoRA":
        text = "merge into 16 bits: quantizing the sum again erases most of a small update"
        yield Reason(NOTE, text, "lesson 12")
    else:
        text = (
            "is one plain model" if case.method in BASE_ITSELF else "merges: nothing is left beside"
        )
        yield Reason(FOR, text, "lesson 12")


def many(case: Case) -> Iterator[Reason]:
    """Are many adapters served from one base?"""
    n = case.needs.adapters
    if n == 1:
        return
    if case.needs.must_merge or case.method == "full":
        text = f"{n} tasks are {n} whole models: {both(n * case.cost.model)}"
        yield Reason(AGAINST, text, "lesson 01")
        return
    files = f"{n} files take {both(n * case.cost.file)}"
    if refused := refused_by_vllm(case.config.to_dict()):
        yield Reason(AGAINST, f"vLLM's check refuses it: {', '.join(refused)}", "lesson 13")
    else:
        yield Reason(FOR, f"one batch mixes all {n}; {files}", "lesson 13")
    if n * case.cost.file > case.cost.model:
        yield Reason(AGAINST, f"{files}, more than the base", "count_parameters, lesson 04")


def fast(case: Case) -> Iterator[Reason]:
    """Must single answers come fast?"""
    if not case.needs.fast_single:
        return
    unmerged = case.needs.adapters > 1 and not case.needs.must_merge
    if case.method == "adapters":
        text = "at batch 1 a pass of GPT-2 medium took 20.7 to 30.3% longer with adapters"
        yield Reason(AGAINST, text, "LoRA paper, Table 1; lesson 07")
    elif case.method in ("prefix", "prompt"):
        more = case.config.num_virtual_tokens
        yield Reason(NOTE, f"every token attends to {more} more", "lesson 09")
    elif case.method in LORA and unmerged:
        times = latency.recorded("192 wide", length=1)[1]["LoRA, all"][1].median
        text = (
            f"unmerged on all linear layers a pass at batch 1 took {times:.1f} times as long here"
        )
        yield Reason(AGAINST, text, "lesson 07")
    elif case.method in LORA:
        yield Reason(FOR, "merged, a pass takes what the base's takes", "LoRA paper, section 4")


def small(case: Case) -> Iterator[Reason]:
    """Are there few examples?"""
    if not case.needs.small_data:
        return
    told = "GPT-3, 100 examples of MNLI: full 60.2%, LoRA 63.8%, prefix 48.3%, prompt 37.6%"
    source = "LoRA paper, Table 16"
    if case.method in ("prefix", "prompt"):
        text = f"disputed: {told}; Li and Liang report that prefixes beat full tuning"
        yield Reason(NOTE, text, f"{source}; arXiv 2101.00190, abstract")
    elif case.method == "full":
        yield Reason(AGAINST, told, source)
    elif case.method == "LoRA":
        yield Reason(FOR, told, source)


def vocabulary(case: Case) -> Iterator[Reason]:
    """Are there new tokens?"""
    if case.needs.new_tokens and case.method != "full":
        text = f"the {case.needs.new_tokens:,} new rows of the embeddings must be trained beside it"
        yield Reason(NOTE, text, "lesson 13: trainable tokens; a server may refuse saved tables")


def scratch(case: Case) -> Iterator[Reason]:
    """Are the base's weights random?"""
    if case.needs.pretraining and case.method != "full":
        ends = {name: min(p.mean for p in points) for name, points in from_scratch().items()}
        text = f"random weights stay random: LoRA ended {ends['lora']:.2f} nats above the floor"
        yield Reason(RULES_OUT, f"{text}, full training {ends['full']:.2f}", "lesson 01")


def known(case: Case) -> Iterator[Reason]:
    """What speaks for or against it wherever it is used."""
    if case.method in ("prefix", "prompt"):
        name = {"prefix": "PREFIX_TUNING", "prompt": "PROMPT_TUNING"}[case.method]
        shares = [100 * run.accuracy for run in benchmark() if run.method == name]
        text = f"settings alone took it from {min(shares):.1f} to {max(shares):.1f}% of GSM8K"
        yield Reason(AGAINST, text, PEFT)
    if case.method == "prompt":
        yield Reason(NOTE, "reached full tuning only at billions of parameters",
                     "Lester et al., abstract; lesson 09")  # fmt: skip
    if case.method == "DoRA":
        plain, other = find("lora/rank32"), find("lora/rank32-dora")
        slower, z = other.train_seconds / plain.train_seconds, z_of(other.accuracy, plain.accuracy)
        text = (
            f"{slower:.2f} times LoRA's training time, {z:+.1f} standard errors from its accuracy"
        )
        yield Reason(AGAINST, text, PEFT)
    if case.new_biases:
        text = f"the model has no bias: every linear layer gets one, {case.cost.trained:,} numbers"
        yield Reason(NOTE, text, "lesson 08")
    if case.method == "last blocks":
        yield Reason(NOTE, "cheap, and the baseline that any other should beat", "lesson 01")


QUESTIONS = (fit, merge, many, fast, small, vocabulary, scratch, known)
