"""Somebody else's benchmark, read critically: peft's own method comparison.

63 runs of Llama-3.2-3B on MetaMathQA, one seed each, tested on GSM8K's 1,319 questions; source and
licence stand in data/peft_method_comparison.csv. A share p of n questions answered right has

    standard error  e(p) = sqrt(p (1 - p) / n)

and a difference of two runs, in units of its own standard error,

    z = (p1 - p2) / sqrt(2 p (1 - p) / n),  p = (p1 + p2) / 2.

This counts the draw of the questions alone. Training again with another seed adds to it, and that
all runs were asked the same questions takes from it: how much, single answers would tell.
"""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from statistics import NormalDist

from minipeft.core.errors import check_choice, check_whole
from minipeft.course.base import DATA

QUESTIONS = 1319  # GSM8K's test set


@dataclass(frozen=True)
class Run:
    """One run, as its file says.

    Attributes:
        method, experiment: peft's name of the method, and of its settings.
        r, alpha, use_rslora, use_dora: None where the method has none.
        targets: names of the adapted modules, none where the method has no such option.
        accuracy: share of the questions answered right. forgetting: rise of the loss, nats.
        trained: how many numbers. file_bytes, memory_max_bytes: the peak on its GPU.
    """

    method: str
    experiment: str
    r: int | None
    alpha: float | None
    use_rslora: bool | None
    use_dora: bool | None
    targets: tuple[str, ...]
    learning_rate: float
    accuracy: float
    forgetting: float
    trained: int
    file_bytes: int
    memory_max_bytes: int
    train_seconds: float

    @property
    def scale(self) -> float | None:
        """alpha / r, with rsLoRA alpha / sqrt(r); None for other methods than LoRA.

        AdaLoRA has an alpha too, and divides by a rank that the benchmark's files do not tell.
        """
        if self.method != "LORA":
            return None
        return self.alpha / (math.sqrt(self.r) if self.use_rslora else self.r)

    @property
    def name(self) -> str:
        """The experiment without the model, which is the same in all."""
        return self.experiment.replace("llama-3.2-3B-", "")


@cache
def benchmark() -> tuple[Run, ...]:
    """All runs, the best accuracy first."""
    text = (DATA / "peft_method_comparison.csv").read_text(encoding="utf-8")
    return tuple(map(_run, csv.DictReader(_lines(text))))


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def _run(row: dict[str, str]) -> Run:
    def told(name: str, kind: Callable):
        return kind(row[name]) if row[name] else None

    return Run(
        method=row["method"],
        experiment=row["experiment"],
        r=told("r", int),
        alpha=told("alpha", float),
        use_rslora=told("use_rslora", "True".__eq__),
        use_dora=told("use_dora", "True".__eq__),
        targets=tuple(row["targets"].split()),
        learning_rate=float(row["learning_rate"]),
        accuracy=float(row["test_accuracy"]),
        forgetting=float(row["forgetting"]),
        trained=int(row["trainable"]),
        file_bytes=int(row["file_bytes"]),
        memory_max_bytes=int(row["memory_max_bytes"]),
        train_seconds=float(row["train_seconds"]),
    )


def find(name: str) -> Run:
    """The run of this name, such as "lora/rank32". Raises ValueError where there is none."""
    named = {run.name: run for run in benchmark()}
    check_choice("name", name, list(named))
    return named[name]


def standard_error(accuracy: float, questions: int = QUESTIONS) -> float:
    """Of a share of right answers, as a share. Raises ValueError for no share, no questions."""
    check_whole("questions", questions, 1)
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy={accuracy!r} is no share; give one from 0 to 1, as in 0.47")
    return math.sqrt(accuracy * (1 - accuracy) / questions)


def z_of(one: float, other: float, questions: int = QUESTIONS) -> float:
    """The difference of two shares in units of its standard error; 0 where both are 0 or 1."""
    error = math.sqrt(2) * standard_error((one + other) / 2, questions)
    return (one - other) / error if error else 0.0


def p_of(z: float) -> float:
    """How often chance alone gives a difference at least this large, in either direction."""
    return 2 * (1 - NormalDist().cdf(abs(z)))


def least_z(comparisons: int, chance: float = 0.05) -> float:
    """|z| that a difference must pass if `comparisons` are made at once (Bonferroni's bound).

    Then the chance that one or more of them pass without any true difference is at most `chance`.
    """
    check_whole("comparisons", comparisons, 1)
    return NormalDist().inv_cdf(1 - chance / comparisons / 2)


def decided(runs: Sequence[Run], bound: float) -> list[tuple[Run, Run]]:
    """The pairs (better, worse) whose accuracies differ by at least `bound` standard errors."""
    pairs = combinations(sorted(runs, key=lambda run: -run.accuracy), 2)
    return [(a, b) for a, b in pairs if z_of(a.accuracy, b.accuracy) >= bound]


def differences(one: Run, other: Run) -> dict[str, tuple]:
    """The settings in which two runs differ, {"name": (of one, of the other)}."""
    names = ("method", "r", "scale", "use_rslora", "use_dora", "targets", "learning_rate")
    names += ("trained",)
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def pareto(runs: Sequence[Run], cost: str = "file_bytes") -> list[Run]:
    """The runs that no other beats: none has at least the accuracy at no more of the cost.

    cost: the name of a field; less is better. Of equal runs all stay. The cheapest comes first.
    """

    def beaten(run: Run) -> bool:
        mine = run.accuracy, -getattr(run, cost)
        theirs = [(other.accuracy, -getattr(other, cost)) for other in runs]
        return any(a >= mine[0] and c >= mine[1] and (a, c) != mine for a, c in theirs)

    return sorted((run for run in runs if not beaten(run)), key=lambda run: getattr(run, cost))
